package org.hydramobile.core

import org.junit.Assert.fail
import org.junit.Test

/** Every code point is what Python's tokenizer takes it for. */
class CodePointsVectorsTest {
    @Test
    fun letters() = compare("letters", CodePoints::isLetter)

    @Test
    fun numbers() = compare("numbers", CodePoints::isNumber)

    @Test
    fun numeric() = compare("numeric", CodePoints::isNumeric)

    @Test
    fun spaces() = compare("spaces", CodePoints::isSpace)

    private fun compare(name: String, found: (Int) -> Boolean) {
        val file = Vectors.file("code_points.json")
        val expected = java.util.BitSet()
        for (run in Json.parseObject(file.readBytes(), file.name).list(name)) {
            val (first, last) = (run as List<*>).map { (it as Long).toInt() }
            expected.set(first, last + 1)
        }
        for (point in 0..0x10FFFF) {
            if (expected[point] != found(point)) fail("$name: U+%04X should be ${expected[point]}".format(point))
        }
    }
}
