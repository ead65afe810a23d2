/*
 * Reads the parts of a `tokenizer.json`, and refuses by name every part that is not computed here.
 *
 * A wrong id would be a wrong answer that nobody notices; an error is seen. Called by `Tokenizer.parse`.
 */
package org.hydramobile.core

internal class TokenizerFile(private val json: JsonObject) {
    fun tokenizer(): Tokenizer {
        for (key in listOf("truncation", "padding")) {
            if (!json.lacks(key)) {
                throw JsonException("${json.where}: key `$key` is set; this app neither cuts nor fills up ids.")
            }
        }
        val normalizer = if (json.lacks("normalizer")) Normalizer { it } else Normalizer.of(json.child("normalizer"))
        val splitter = if (json.lacks("pre_tokenizer")) Splitter.NONE else Splitter.of(json.child("pre_tokenizer"))
        val decoder = if (json.lacks("decoder")) Decoder.PLAIN else Decoder.of(json.child("decoder"))
        val ids = vocabulary()
        val listed = if (json.lacks("added_tokens")) emptyList() else json.objects("added_tokens")
        val added = listed.map { addedToken(it, ids) }
        return Tokenizer(normalizer, splitter, model(ids), AddedTokens(added, normalizer), decoder, opening())
    }

    private fun vocabulary(): Map<String, Int> {
        val model = json.child("model")
        // Files from before there were other models lack the type.
        val kind = if (model.lacks("type")) "BPE" else model.string("type")
        if (kind != "BPE") unknownPart(model, "model", kind, "BPE")
        val vocab = model.child("vocab")
        val ids = HashMap<String, Int>(2 * vocab.keys.size)
        val seen = HashSet<Int>(2 * vocab.keys.size)
        for (token in vocab.keys) {
            val id = vocab.count(token)
            if (!seen.add(id)) throw JsonException("${vocab.where}: two tokens have id $id.")
            ids[token] = id
        }
        return ids
    }

    private fun model(ids: Map<String, Int>): Bpe {
        val model = json.child("model")
        if (!model.lacks("dropout") && model.double("dropout") != 0.0) {
            throw JsonException("${model.where}: key `dropout` is set; its ids are a matter of chance.")
        }
        for (key in listOf("continuing_subword_prefix", "end_of_word_suffix")) {
            if (!model.lacks(key) && model.string(key).isNotEmpty()) {
                throw JsonException("${model.where}: key `$key` is set, which this app does not compute.")
            }
        }
        val unknown = if (model.lacks("unk_token")) null else model.string("unk_token")
        if (unknown != null && unknown !in ids) {
            throw JsonException("${model.where}: `unk_token` is \"${unknown.take(40)}\", which the vocabulary lacks.")
        }
        return Bpe(
            ids,
            merges(model, ids),
            unknown = if (unknown == null) -1 else ids.getValue(unknown),
            fuseUnknown = flag(model, "fuse_unk"),
            byteFallback = flag(model, "byte_fallback"),
            wholeWords = flag(model, "ignore_merges"),
        )
    }

    private fun merges(model: JsonObject, ids: Map<String, Int>): Merges {
        val list = model.list("merges")
        val merges = Merges(list.size)
        for ((rank, merge) in list.withIndex()) {
            val pair = if (merge is String) merge.split(' ') else merge as? List<*> ?: emptyList<Any?>()
            val left = pair.getOrNull(0) as? String
            val right = pair.getOrNull(1) as? String
            if (pair.size != 2 || left == null || right == null) {
                throw JsonException("${model.where}: `merges[$rank]` is no pair of tokens.")
            }
            fun id(token: String) = ids[token] ?: throw JsonException(
                "${model.where}: `merges[$rank]` has the token \"${token.take(40)}\", which the vocabulary lacks.",
            )
            merges.put(rank, id(left), id(right), id(left + right))
        }
        return merges
    }

    private fun addedToken(token: JsonObject, ids: Map<String, Int>): AddedToken {
        val content = token.string("content")
        val id = token.count("id")
        for (key in listOf("single_word", "lstrip", "rstrip")) {
            if (flag(token, key)) {
                val name = "${token.where} (\"${content.take(40)}\")"
                throw JsonException("$name: `$key` is set, which this app does not compute.")
            }
        }
        if ((ids[content] ?: id) != id) {
            throw JsonException(
                "${token.where}: \"${content.take(40)}\" has id $id here and ${ids[content]} in the vocabulary.",
            )
        }
        return AddedToken(content, id, flag(token, "special"), flag(token, "normalized"))
    }

    /** Ids before a text. Other parts of a post-processor move offsets, which nobody asks for. */
    private fun opening(): IntArray =
        if (json.lacks("post_processor")) IntArray(0) else opening(json.child("post_processor"))

    private fun opening(processor: JsonObject): IntArray = when (val kind = processor.string("type")) {
        "ByteLevel" -> IntArray(0)

        "Sequence" -> processor.objects("processors").map(::opening).firstOrNull { it.isNotEmpty() } ?: IntArray(0)

        "TemplateProcessing" -> {
            val special = processor.child("special_tokens")
            val first = processor.objects("single").firstOrNull()
            if (first == null || "SpecialToken" !in first) {
                IntArray(0)
            } else {
                special.child(first.child("SpecialToken").string("id")).ints("ids")
            }
        }

        else -> unknownPart(processor, "post_processor", kind, "Sequence, ByteLevel, TemplateProcessing")
    }

    private fun flag(json: JsonObject, key: String) = !json.lacks(key) && json.boolean(key)
}
