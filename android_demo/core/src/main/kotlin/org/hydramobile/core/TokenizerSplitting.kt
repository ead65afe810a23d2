/*
 * The second step from text to ids: cutting a text into the words within which tokens are merged.
 */
package org.hydramobile.core

internal fun interface Splitter {
    /** Words of [text]; [isFirst]: nothing stands before it. */
    fun split(text: String, isFirst: Boolean): List<String>

    companion object {
        /** The whole text is one word. */
        val NONE = Splitter { text, _ -> listOf(text) }

        /** The steps of `pre_tokenizer` in a tokenizer.json. JsonException: one is unknown. */
        fun of(json: JsonObject): Splitter = when (val kind = json.string("type")) {
            "Sequence" -> sequence(json.objects("pretokenizers").map(::of))

            "Digits" -> digits(json.boolean("individual_digits"))

            "ByteLevel" -> byteLevel(
                json.boolean("add_prefix_space"),
                byWords = json.lacks("use_regex") || json.boolean("use_regex"),
            )

            "Metaspace" -> metaspace(json)

            "Split" -> pattern(SplitPattern.of(json), json.string("behavior"), json)

            else -> unknownPart(json, "pre-tokenizer", kind, "Sequence, Digits, ByteLevel, Metaspace, Split")
        }

        private fun sequence(steps: List<Splitter>) = Splitter { text, isFirst ->
            var words = listOf(text)
            for (step in steps) words = words.flatMapIndexed { index, word -> step.split(word, isFirst && index == 0) }
            words
        }

        /** [inverted]: what lies between the matches counts as matched. */
        private fun pattern(pattern: SplitPattern, behavior: String, json: JsonObject): Splitter {
            val inverted = !json.lacks("invert") && json.boolean("invert")
            if (behavior !in BEHAVIORS) unknownPart(json, "behavior", behavior, BEHAVIORS.joinToString())
            return Splitter { text, _ ->
                val words = ArrayList<String>()
                var matchedBefore = false
                pattern.cut(text) { part, isMatch ->
                    val matched = isMatch != inverted
                    when {
                        matched && behavior == "Removed" -> Unit

                        matched && behavior == "MergedWithPrevious" && !matchedBefore && words.isNotEmpty() ->
                            words[words.size - 1] += part

                        else -> words.add(part)
                    }
                    matchedBefore = matched
                }
                words
            }
        }

        private val BEHAVIORS = listOf("Isolated", "Removed", "MergedWithPrevious")

        private fun digits(alone: Boolean) = Splitter { text, _ ->
            val words = ArrayList<String>()
            var from = 0
            var at = 0
            var before = false
            while (at < text.length) {
                val point = text.codePointAt(at)
                val digit = CodePoints.isNumeric(point)
                if (at > from && (digit != before || (digit && alone))) {
                    words.add(text.substring(from, at))
                    from = at
                }
                before = digit
                at += Character.charCount(point)
            }
            if (from < text.length) words.add(text.substring(from))
            words
        }

        private fun byteLevel(prefixSpace: Boolean, byWords: Boolean) = Splitter { text, _ ->
            val spaced = if (prefixSpace && !text.startsWith(' ')) " $text" else text
            (if (byWords) WordPattern.split(spaced) else listOf(spaced)).map(ByteAlphabet::write)
        }

        private fun metaspace(json: JsonObject): Splitter {
            val mark = json.string("replacement")
            val scheme = json.string("prepend_scheme")
            val cuts = json.boolean("split")
            if (scheme !in setOf("always", "first", "never")) {
                unknownPart(json, "prepend_scheme", scheme, "always, first, never")
            }
            if (mark.length != 1) {
                throw JsonException("${json.where}: key `replacement` is \"${mark.take(20)}\", expected one character.")
            }
            return Splitter { text, isFirst ->
                val marked = text.replace(" ", mark)
                val prepend = !marked.startsWith(mark) && (scheme == "always" || (scheme == "first" && isFirst))
                val whole = if (prepend) mark + marked else marked
                if (cuts) atMarks(whole, mark[0]) else listOf(whole)
            }
        }

        /** Each mark begins a new word. */
        private fun atMarks(text: String, mark: Char): List<String> {
            val words = ArrayList<String>()
            var from = 0
            for (at in 1 until text.length) {
                if (text[at] != mark) continue
                words.add(text.substring(from, at))
                from = at
            }
            if (from < text.length) words.add(text.substring(from))
            return words
        }
    }
}

/**
 * GPT-2's pattern, written out so that no platform's regular expressions decide what a letter is:
 * `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
 */
internal object WordPattern {
    private val endings = listOf("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")

    fun split(text: String): List<String> {
        val words = ArrayList<String>()
        var at = 0
        while (at < text.length) {
            val end = wordEnd(text, at)
            words.add(text.substring(at, end))
            at = end
        }
        return words
    }

    private fun wordEnd(text: String, start: Int): Int {
        if (text[start] == '\'') endings.firstOrNull { text.startsWith(it, start) }?.let { return start + it.length }
        // An optional space belongs to the word behind it.
        val first = if (text[start] == ' ' && start + 1 < text.length) start + 1 else start
        val kind = kindAt(text, first)
        if (kind != SPACE) return runEnd(text, first, kind)
        val end = runEnd(text, start, SPACE)
        // The last of several spaces is left to the word that follows.
        val last = text.offsetByCodePoints(end, -1)
        return if (end < text.length && last > start) last else end
    }

    private fun runEnd(text: String, start: Int, kind: Int): Int {
        var at = start
        while (at < text.length && kindAt(text, at) == kind) at += Character.charCount(text.codePointAt(at))
        return at
    }

    private fun kindAt(text: String, at: Int): Int {
        val point = text.codePointAt(at)
        return when {
            CodePoints.isLetter(point) -> LETTER
            CodePoints.isNumber(point) -> NUMBER
            CodePoints.isSpace(point) -> SPACE
            else -> OTHER
        }
    }

    private const val LETTER = 0
    private const val NUMBER = 1
    private const val SPACE = 2
    private const val OTHER = 3
}

/** The printable stand-ins for bytes in byte-level vocabularies. */
internal object ByteAlphabet {
    private val characters = CharArray(256)
    private val bytes = IntArray(0x200) { -1 }

    init {
        var spare = 0x100
        for (byte in 0..255) {
            val printable = byte in 0x21..0x7E || byte in 0xA1..0xAC || byte in 0xAE..0xFF
            characters[byte] = (if (printable) byte else spare++).toChar()
            bytes[characters[byte].code] = byte
        }
    }

    /** The bytes of [text], one character each. */
    fun write(text: String): String {
        val utf8 = Utf8.encode(text)
        return String(CharArray(utf8.size) { characters[utf8[it].toInt() and 0xFF] })
    }

    /** The byte of a character, -1 for a character that stands for none. */
    fun byteOf(character: Char): Int = if (character.code < bytes.size) bytes[character.code] else -1
}
