package org.hydramobile.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Test
import java.util.Random

class JsonTest {
    @Test
    fun values() {
        val text = """ {"a": [1, -2.5e3, true, false, null, "x\n\u00e9\ud83d\ude00\/"],""" +
            """ "b": {}, "c": [], "d": 9223372036854775808} """
        val read = Json.parse(text, "text") as Map<*, *>
        assertEquals(listOf(1L, -2500.0, true, false, null, "x\né😀/"), read["a"])
        assertEquals(9.223372036854775808e18, read["d"])
        assertEquals(read, Json.parse(Json.write(read), "written"))
    }

    @Test
    fun writes() {
        val line = Json.write(
            linkedMapOf(
                "a" to intArrayOf(1, 2), "b" to 0.5f, "c" to Double.NaN,
                "d" to "\u0001\"\u2028\ud800",
            ),
        )
        assertEquals("""{"a": [1, 2], "b": 0.5, "c": null, "d": "\u0001\"\u2028""" + "\uFFFD\"}", line)
    }

    @Test
    fun namesThePlace() {
        refuses("{\n  \"a\": 1,\n  \"a\": 2\n}", "line 3, column 3: key `a` occurs twice")
        refuses("[1, 2,]", "line 1, column 7: found `]` where a value is expected")
        refuses("{\"a\": 1 \"b\": 2}", "column 9: expected a comma or `}`, found `\"`")
        refuses("", "line 1, column 1: the text ends where a value is expected")
        refuses("{\"a\": \"x", "column 7: this string has no end")
        refuses("[\"a\nb\"]", "control character U+000A")
        refuses("[01]", "expected a comma or `]`, found `1`")
        refuses("[1.]", "no digit behind its point")
        refuses("[-]", "`-` is followed by no digit")
        refuses("[1e999]", "the number 1e999 is too large")
        refuses("[NaN]", "found `N` where a value is expected")
        refuses("[\"\\x\"]", "which is no escape")
        refuses("[\"\\u12g4\"]", "four hexadecimal digits")
        refuses("[1] []", "column 5: the JSON ends here, but the file goes on")
        refuses("[".repeat(100_000), "nested more than 64 levels deep")
        refuses("{a: 1}", "expected a key in double quotes")
        refuses("\uFEFF{}", "found U+FEFF where a value is expected")
    }

    @Test
    fun namesTheKey() {
        val json = Json.parseObject("""{"a": {"b": "x"}, "n": 1.5, "big": 5000000000}""", "file.json")
        message("file.json: `a`: key `c` is missing, expected a whole number.") { json.child("a").int("c") }
        message("file.json: `a`: key `b` is the string \"x\", expected a whole number.") { json.child("a").int("b") }
        message("file.json: key `n` is 1.5, expected a whole number.") { json.int("n") }
        message("file.json: key `big` is 5000000000, expected a number of at most 32 bits.") { json.int("big") }
        message("file.json: `n` is 1.5, expected an object.") { json.child("n") }
        message("file.json, line 1, column 2: the JSON ends here, but the file goes on.") {
            Json.parse("1x", "file.json")
        }
        message("file.json: byte 1 is no UTF-8; the file is damaged or is no JSON.") {
            Json.parse(byteArrayOf('['.code.toByte(), -1), "file.json")
        }
    }

    @Test
    fun garbageIsRefusedAndNothingElseHappens() {
        val chance = Random(3)
        val sound = """{"schema": 1, "a": [1.5e-3, "x\u00e9", {"b": null}], "c": true}"""
        val characters = "{}[]\",:\\u0123456789eE+-.truefalsn \n\u0000é😀"
        var refused = 0
        repeat(20_000) {
            val text = StringBuilder(sound)
            repeat(1 + chance.nextInt(4)) {
                val at = chance.nextInt(text.length)
                val other = characters[chance.nextInt(characters.length)]
                if (chance.nextBoolean()) text.deleteCharAt(at) else text.insert(at, other)
            }
            try {
                Json.parse(text.toString(), "garbage")
            } catch (_: JsonException) {
                refused++
            }
        }
        assertTrue("$refused refused", refused > 10_000)
    }

    private fun refuses(text: String, expected: String) {
        try {
            Json.parse(text, "text")
        } catch (error: JsonException) {
            assertTrue("${error.message} lacks: $expected", expected in error.message!!)
            return
        }
        fail("accepted: ${text.take(80)}")
    }

    private fun message(expected: String, action: () -> Unit) {
        try {
            action()
        } catch (error: JsonException) {
            assertEquals(expected, error.message)
            return
        }
        fail("no error; expected: $expected")
    }
}
