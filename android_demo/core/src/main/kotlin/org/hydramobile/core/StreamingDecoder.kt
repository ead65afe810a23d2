/*
 * Text from tokens that come one by one, for a screen.
 *
 * A character may be several tokens; what is not complete is held back, so that no replacement character
 * flashes up. Called by whoever shows a running answer; the answer's final text is `Tokenizer.answer`.
 */
package org.hydramobile.core

/** Collects ids and gives out the text that they add. */
class StreamingDecoder internal constructor(private val tokenizer: Tokenizer) {
    private val ids = IdList()
    private var shown = 0

    /** Text that [id] completes; empty while a character is not whole. */
    fun add(id: Int): String {
        ids.add(id)
        // From the beginning: tokens before decide what a token means, and an answer has a few hundred.
        return next(tokenizer.decode(ids.toArray()).trimEnd(Utf8.REPLACEMENT))
    }

    /** What was held back; after it the pieces make up the whole text. */
    fun end(): String = next(tokenizer.decode(ids.toArray()))

    private fun next(text: String): String {
        // Shorter than before: bytes that looked like a character were the beginning of broken ones.
        if (text.length <= shown) return ""
        return text.substring(shown).also { shown = text.length }
    }
}
