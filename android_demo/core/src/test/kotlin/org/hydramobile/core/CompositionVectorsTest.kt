package org.hydramobile.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** Texts are composed as Python's tokenizer composes them. */
class CompositionVectorsTest {
    @Test
    fun composes() {
        var changed = 0
        for (line in Vectors.lines(Vectors.file("compositions.jsonl"))) {
            val text = line.string("text")
            val found = Composition.compose(text)
            assertEquals(Json.write(text), line.string("composed"), found)
            if (found != text) changed++
        }
        assertTrue("only $changed texts change", changed > 10_000)
    }

    @Test
    fun endsForAnyText() {
        val marks = "\u0301\u0323".repeat(200_000)
        val found = Composition.compose("a$marks")
        assertEquals("the lower marks come first", "\u1EA1\u0323", found.substring(0, 2))
        assertEquals(marks.length, found.length)
    }
}
