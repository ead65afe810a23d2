/*
 * The language that aapt2 makes of the app's texts for tests: accents on every letter, arguments in marks, brackets
 * around the whole, and numbers in words at its end, which make it longer.
 */
package org.hydramobile.demo

/** Texts of the language `en-XA`. */
object Pseudo {
    const val COUNTRY = "XA"

    private const val NUMBERS =
        "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fiveteen|sixteen|seventeen|" +
            "nineteen|twenty"
    private val END = Regex("( ($NUMBERS))*\\]")
    private val ARGUMENT = Regex("\u00bb[^\u00ab]*\u00ab")
    private val WORD = Regex("[A-Za-z]{2,}")

    /** What is left of [text] where it stands in another; a text of another language stays as it is. */
    fun part(text: String): String =
        if (text.startsWith('[') && text.endsWith(']')) END.replace(text.drop(1), "") else text

    /** Words of [text] that come from no resource, its arguments left aside. */
    fun plainWords(text: String): List<String> =
        WORD.findAll(END.replace(ARGUMENT.replace(text, ""), "")).map { it.value }.toList()
}
