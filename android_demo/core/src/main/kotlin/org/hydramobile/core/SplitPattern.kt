/*
 * The regular expressions of `Split` in a tokenizer.json, as far as published tokenizers write them.
 *
 * Written out so that no platform's regular expressions decide what a letter is; what is not computed here is
 * refused by name. Knows no tokenizer.
 */
package org.hydramobile.core

/** What is left of a match: its end from a place in a text on, -1 where there is none. */
private fun interface Match {
    fun end(text: String, at: Int): Int
}

/** A set of code points. */
private fun interface Points {
    fun has(point: Int): Boolean
}

/** A pattern, found in texts from left to right. */
internal class SplitPattern private constructor(private val match: Match) {
    /** Tell [found] the parts of [text] in turn: matches, and what lies between them. */
    fun cut(text: String, found: (part: String, isMatch: Boolean) -> Unit) {
        var from = 0
        var at = 0
        while (at < text.length) {
            val end = match.end(text, at)
            if (end <= at) {
                at += Character.charCount(text.codePointAt(at))
                continue
            }
            if (from < at) found(text.substring(from, at), false)
            found(text.substring(at, end), true)
            at = end
            from = at
        }
        if (from < text.length) found(text.substring(from), false)
    }

    companion object {
        /** The `pattern` of [json]. JsonException: it holds what is not computed here. */
        fun of(json: JsonObject): SplitPattern {
            val pattern = json.child("pattern")
            if ("Regex" in pattern) return SplitPattern(SplitPatternReader(pattern, pattern.string("Regex")).read())
            val text = plainPattern(json)
            return SplitPattern { whole, at -> if (whole.startsWith(text, at)) at + text.length else -1 }
        }
    }
}

/** Reads a regular expression, from its end to its beginning as a chain of [Match]. */
private class SplitPatternReader(private val json: JsonObject, private val pattern: String) {
    private var at = 0

    fun read(): Match {
        val ways = ways(folded = false)
        if (at < pattern.length) refuse()
        return ways(Match { _, end -> end })
    }

    /** Alternatives up to a closing bracket: what makes a match of the match that follows them. */
    private fun ways(folded: Boolean): (Match) -> Match {
        val all = arrayListOf(sequence(folded))
        while (at < pattern.length && pattern[at] == '|') {
            at++
            all.add(sequence(folded))
        }
        return { next ->
            val matches = all.map { it(next) }
            Match { text, from ->
                var end = -1
                for (match in matches) {
                    end = match.end(text, from)
                    if (end >= 0) break
                }
                end
            }
        }
    }

    private fun sequence(folded: Boolean): (Match) -> Match {
        val steps = ArrayList<(Match) -> Match>()
        while (at < pattern.length && pattern[at] != '|' && pattern[at] != ')') steps.add(step(folded))
        return { next -> steps.foldRight(next) { step, rest -> step(rest) } }
    }

    private fun step(folded: Boolean): (Match) -> Match {
        if (take("(?i:")) return ways(folded = true).also { close() }
        if (take("(?:")) return ways(folded).also { close() }
        if (take("(?!")) {
            val points = points(folded)
            close()
            return { next -> notBefore(points, next) }
        }
        val points = points(folded)
        val (least, most) = times()
        return { next -> repeated(points, least, most, next) }
    }

    private fun close() {
        if (!take(")")) refuse()
    }

    /** How often a set may match, at least and at most. */
    private fun times(): Pair<Int, Int> {
        val found = when {
            take("?") -> 0 to 1

            take("*") -> 0 to Int.MAX_VALUE

            take("+") -> 1 to Int.MAX_VALUE

            take("{") -> {
                val end = pattern.indexOf('}', at).also { if (it < 0) refuse() }
                val numbers = pattern.substring(at, end).split(',').map { it.toIntOrNull() }
                at = end + 1
                val least = numbers[0] ?: refuse()
                if (numbers.size == 1) least to least else least to (numbers[1] ?: Int.MAX_VALUE)
            }

            else -> return 1 to 1
        }
        // Lazy and possessive ones.
        if (at < pattern.length && pattern[at] in "?+*{") refuse()
        return found
    }

    private fun points(folded: Boolean): Points {
        val first = pattern.getOrNull(at) ?: refuse()
        if (first == '[') {
            at++
            return bracket(folded)
        }
        if (first == '\\') return escape()
        if (first in "().^$*+?{}") refuse()
        return character(folded)
    }

    private fun bracket(folded: Boolean): Points {
        val negated = take("^")
        val members = ArrayList<Points>()
        while (!take("]")) {
            when (pattern.getOrNull(at) ?: refuse()) {
                '\\' -> members.add(escape())
                '[', '-', '&' -> refuse()
                else -> members.add(character(folded))
            }
        }
        return Points { point -> members.any { it.has(point) } != negated }
    }

    private fun escape(): Points {
        for ((name, points) in CLASSES) if (take(name)) return points
        val next = pattern.getOrNull(at + 1) ?: refuse()
        if (next.isLetterOrDigit()) refuse()
        at += 2
        return Points { it == next.code }
    }

    private fun character(folded: Boolean): Points {
        val point = pattern.codePointAt(at)
        at += Character.charCount(point)
        if (!folded || point.toChar() !in 'a'..'z') return Points { it == point }
        val upper = point - 'a'.code + 'A'.code
        val other = when (point.toChar()) {
            's' -> LONG_S
            'k' -> KELVIN
            else -> point
        }
        return Points { it == point || it == upper || it == other }
    }

    private fun take(text: String): Boolean {
        if (!pattern.startsWith(text, at)) return false
        at += text.length
        return true
    }

    private fun refuse(): Nothing = unknownPart(
        json,
        "pattern",
        pattern,
        "sets of characters that are repeated, alternatives, (?i:...) and (?!...); place $at is something else",
    )

    private companion object {
        /** What `s` and `k` are as well where case does not count. */
        const val LONG_S = 0x17F
        const val KELVIN = 0x212A

        val CLASSES = listOf(
            "\\p{L}" to Points(CodePoints::isLetter),
            "\\p{N}" to Points(CodePoints::isNumber),
            "\\s" to Points(CodePoints::isSpace),
            "\\S" to Points { !CodePoints.isSpace(it) },
            "\\r" to Points { it == '\r'.code },
            "\\n" to Points { it == '\n'.code },
            "\\t" to Points { it == '\t'.code },
        )

        fun notBefore(points: Points, next: Match) = Match { text, at ->
            if (at < text.length && points.has(text.codePointAt(at))) -1 else next.end(text, at)
        }

        /** As many as there are, then fewer one by one until the rest matches. */
        fun repeated(points: Points, least: Int, most: Int, next: Match) = Match { text, from ->
            var at = from
            var count = 0
            while (count < most && at < text.length) {
                val point = text.codePointAt(at)
                if (!points.has(point)) break
                at += Character.charCount(point)
                count++
            }
            var end = -1
            while (count >= least) {
                end = next.end(text, at)
                if (end >= 0 || count == 0) break
                at = text.offsetByCodePoints(at, -1)
                count--
            }
            end
        }
    }
}
