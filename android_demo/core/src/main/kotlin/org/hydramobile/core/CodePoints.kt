/*
 * Which code points are letters, numbers and spaces, for a tokenizer's pre-tokenisation.
 *
 * Android's own tables grow from version to version, so the same text would get other ids on another phone;
 * these are those of the Python tokenizer (`CodePointTables.kt`, which `android_demo.tools.code_points`
 * writes). Knows no tokenizer. Called by the pre-tokenizers and the template.
 */
package org.hydramobile.core

/** Classes of code points as a regular expression's `\p{L}`, `\p{N}` and `\s` see them. */
object CodePoints {
    private val letters = starts(CodePointTables.LETTERS)
    private val numbers = starts(CodePointTables.NUMBERS)
    private val numeric = starts(CodePointTables.NUMERIC)

    /** `\p{L}`. */
    fun isLetter(point: Int): Boolean = member(letters, point)

    /** `\p{N}`. */
    fun isNumber(point: Int): Boolean = member(numbers, point)

    /** What the pre-tokenizer `Digits` takes for a digit: its Unicode version is another one. */
    fun isNumeric(point: Int): Boolean = member(numeric, point)

    /** `\s`. */
    fun isSpace(point: Int): Boolean = when (point) {
        in 0x09..0x0D, 0x20, 0x85, 0xA0, 0x1680, in 0x2000..0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000 -> true
        else -> false
    }

    /** [text] without the white space around it, as Python's `str.strip` cuts it. */
    fun strip(text: String): String = text.trim { isSpace(it.code) || it.code in 0x1C..0x1F }

    /** First code points of alternating runs, outside and inside of the class. */
    private fun starts(table: String): IntArray {
        val lengths = table.split(' ')
        val starts = IntArray(lengths.size)
        var at = 0
        for (index in lengths.indices) {
            at += lengths[index].toInt(36)
            starts[index] = at
        }
        return starts
    }

    private fun member(starts: IntArray, point: Int): Boolean {
        val found = java.util.Arrays.binarySearch(starts, point)
        // The run that begins at starts[0] is inside, the next outside, and so on.
        val run = if (found >= 0) found else -found - 2
        return run >= 0 && run % 2 == 0
    }
}
