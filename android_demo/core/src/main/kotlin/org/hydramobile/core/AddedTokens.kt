/*
 * Tokens that are written out in a text, special ones above all: found before anything else is computed.
 */
package org.hydramobile.core

/** A token of the list `added_tokens`. */
internal class AddedToken(val content: String, val id: Int, val special: Boolean, val normalized: Boolean)

/** Part of a text: an added token's [id], or -1 and normalised [text]. [isFirst]: it begins the text. */
internal class Piece(val id: Int, val text: String, val isFirst: Boolean)

/** Finds added tokens in texts: at each place the longest, from left to right. */
internal class AddedTokens(val tokens: List<AddedToken>, normalizer: Normalizer) {
    private val ids = tokens.associate { it.content to it.id }

    /** As the Python side writes them out: what is found in normalised text is normalised itself. */
    private val contents =
        tokens.associate { it.id to if (it.normalized) normalizer.normalize(it.content) else it.content }
    private val special = tokens.filter { it.special }.map { it.content }.toSet()
    private val raw = Patterns(tokens.filter { !it.normalized }.map { it.content to it.id })
    private val normalized = Patterns(tokens.filter { it.normalized }.map { normalizer.normalize(it.content) to it.id })

    fun idOf(token: String): Int? = ids[token]

    fun tokenOf(id: Int): String? = contents[id]

    fun isSpecial(token: String) = token in special

    /** [text] cut at added tokens but those of [asText], what lies between them normalised. */
    fun split(text: String, normalizer: Normalizer, asText: Set<Int> = emptySet()): List<Piece> {
        val pieces = ArrayList<Piece>()
        raw.cut(text, asText) { id, part, start ->
            if (id >= 0) {
                pieces.add(Piece(id, "", false))
            } else {
                normalized.cut(normalizer.normalize(part), asText) { inner, rest, offset ->
                    pieces.add(Piece(inner, rest, start == 0 && offset == 0))
                }
            }
        }
        return pieces
    }
}

/** Words and their ids, found in texts: at each place the longest, from left to right. */
internal class Patterns(patterns: List<Pair<String, Int>>) {
    /** Longest first, by first character. */
    private val byFirst = patterns.filter { it.first.isNotEmpty() }.sortedByDescending { it.first.length }
        .groupBy { it.first[0] }

    /** Tell [found] the parts of [text]: words with their ids, and with -1 what lies between; [asText] lies between. */
    fun cut(text: String, asText: Set<Int> = emptySet(), found: (id: Int, part: String, start: Int) -> Unit) {
        var from = 0
        var at = 0
        while (at < text.length) {
            val match = byFirst[text[at]]?.firstOrNull { text.startsWith(it.first, at) }
            if (match == null) {
                at++
                continue
            }
            if (match.second in asText) {
                at += match.first.length
                continue
            }
            if (from < at) found(-1, text.substring(from, at), from)
            found(match.second, match.first, at)
            at += match.first.length
            from = at
        }
        if (from < text.length) found(-1, text.substring(from), from)
    }
}
