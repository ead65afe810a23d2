/*
 * Control tokens in people's text stay text: `hydra_mobile/models/control_tokens.py`, step by step.
 *
 * A question that quotes `<|im_end|>` would otherwise end the turn that it is part of. Text is marked where it enters
 * a prompt, goes through the template, and is tokenized with the marked names as plain text.
 */
package org.hydramobile.core

/** The special tokens of [tokenizer], and the tokens [others], whether or not they are special: that of the picture. */
internal class ControlTokens(private val tokenizer: Tokenizer, others: Set<Int>) {
    private val tokens = tokenizer.addedTokens.filter {
        it.content.isNotEmpty() && (it.special || it.id in others)
    }
    private val ids = tokens.associate { it.content to it.id }

    /** Longest first: a name may begin with another. */
    private val names = ids.keys.sortedByDescending { it.codePointCount(0, it.length) }
    private val marks = names.map { marked(it) to it }
    private val found = Patterns(ids.toList())
    private val asText = ids.values.toSet()

    /** People's [text] with the names of control tokens marked as text. */
    fun asText(text: String): String {
        val out = StringBuilder(text.length)
        found.cut(text) { id, part, _ -> out.append(if (id >= 0) marked(part) else part) }
        return out.toString()
    }

    /** Ids of a text of which parts have gone through [asText]; its unmarked control tokens are real. */
    fun encode(text: String): IntArray {
        if (MARK !in text || marks.none { it.first in text }) return tokenizer.encode(text)
        val all = IdList()
        found.cut(text) { id, part, _ ->
            if (id >= 0) all.add(id) else all.addAll(tokenizer.encode(unmarked(part), asText))
        }
        return all.toArray()
    }

    private fun unmarked(text: String) = marks.fold(text) { all, (mark, name) -> all.replace(mark, name) }

    private companion object {
        /** A noncharacter of Unicode, which no text that is interchanged holds. */
        const val MARK = '\uFDD0'

        /** The mark stands behind the first character. */
        fun marked(name: String): String {
            val first = name.offsetByCodePoints(0, 1)
            return name.substring(0, first) + MARK + name.substring(first)
        }
    }
}
