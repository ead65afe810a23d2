/*
 * Text to token ids and back, from a bundle's `tokenizer.json`.
 *
 * Gives the ids of the Python library `tokenizers` for the kinds of BPE that our bases have: byte-level
 * (SmolLM2) and Llama's with byte fallback. The parts are in files of their own: `AddedTokens`,
 * `TokenizerNormalizing`, `TokenizerSplitting`, `Bpe`, `TokenizerDecoding`; `TokenizerFile` puts them together
 * and refuses by name what they do not compute. Knows no template. Not for several threads at once.
 */
package org.hydramobile.core

import java.io.File

/** A tokenizer; adds nothing to a text of its own accord. */
class Tokenizer internal constructor(
    private val normalizer: Normalizer,
    private val splitter: Splitter,
    private val model: Bpe,
    private val added: AddedTokens,
    private val decoder: Decoder,
    /** Ids that the tokenizer itself would put before a text, as its `post_processor` says. */
    private val opening: IntArray,
) {
    private val words = object : LinkedHashMap<String, IntArray>(1024, 0.75f, true) {
        override fun removeEldestEntry(eldest: MutableMap.MutableEntry<String, IntArray>?) = size > CACHED_WORDS
    }

    /**
     * Ids of [text]; a special token that is written in it becomes its own id.
     *
     * Half a surrogate pair counts as U+FFFD, which is also what Python is given for it.
     */
    fun encode(text: String): IntArray = encode(text, emptySet())

    /** As [encode], the added tokens [asText] read as any other text. */
    internal fun encode(text: String, asText: Set<Int>): IntArray {
        val ids = IdList()
        for (piece in added.split(repaired(text), normalizer, asText)) {
            if (piece.id >= 0) {
                ids.add(piece.id)
            } else {
                for (word in splitter.split(piece.text, piece.isFirst)) ids.addAll(idsOf(word))
            }
        }
        return ids.toArray()
    }

    /** Text of [ids], special tokens left out; ids that no token has are skipped, as in Python. */
    fun decode(ids: IntArray): String {
        val tokens = ArrayList<String>(ids.size)
        for (id in ids) {
            val token = tokenOf(id)
            if (token != null && !added.isSpecial(token)) tokens.add(token)
        }
        return decoder.decode(tokens)
    }

    /** [decode] without the white space around it: the text of an answer, as the evaluation reads it. */
    fun answer(ids: IntArray): String = CodePoints.strip(decode(ids))

    /** Id of a token, special or not, by how it is written in the file; null: there is none. */
    fun idOf(token: String): Int? = added.idOf(token) ?: model.idOf(token)

    /** The id that opens a sequence (BOS), where the tokenizer has one. */
    val bosIds: IntArray
        get() = if (opening.isNotEmpty()) opening.copyOf(1) else idOf("<s>")?.let { intArrayOf(it) } ?: IntArray(0)

    internal val addedTokens: List<AddedToken> get() = added.tokens

    /** A decoder for tokens that come one by one. */
    fun streaming(): StreamingDecoder = StreamingDecoder(this)

    private fun tokenOf(id: Int): String? = added.tokenOf(id) ?: model.tokenOf(id)

    private fun idsOf(word: String): IntArray {
        if (word.length > LONGEST_CACHED) return model.encode(word)
        return words[word] ?: model.encode(word).also { words[word] = it }
    }

    private fun repaired(text: String): String {
        if (text.none { it.isSurrogate() }) return text
        val whole = StringBuilder(text.length)
        var at = 0
        while (at < text.length) {
            val point = Utf8.codePointAt(text, at)
            whole.appendCodePoint(point)
            at += Character.charCount(point)
        }
        return whole.toString()
    }

    companion object {
        private const val CACHED_WORDS = 4096
        private const val LONGEST_CACHED = 64

        /**
         * The tokenizer of a file `tokenizer.json`.
         *
         * @throws JsonException it is damaged, or has a part that is not computed here.
         * @throws java.io.IOException it cannot be read.
         */
        fun read(file: File): Tokenizer = parse(file.readBytes(), file.path)

        /** As [read]; [where] names the file in messages. */
        fun parse(bytes: ByteArray, where: String): Tokenizer =
            TokenizerFile(Json.parseObject(bytes, where)).tokenizer()
    }
}

/** A growing list of ints without boxes. */
internal class IdList {
    private var ids = IntArray(64)
    var size = 0
        private set

    fun add(id: Int) {
        if (size == ids.size) ids = ids.copyOf(2 * size)
        ids[size++] = id
    }

    fun addAll(more: IntArray) = more.forEach(::add)

    fun toArray(): IntArray = ids.copyOf(size)
}
