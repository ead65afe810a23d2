/*
 * The parser behind `Json.parse`: recursive descent over a string, one use for each text.
 */
package org.hydramobile.core

internal class JsonReader(private val text: String, private val where: String) {
    private var at = 0
    private var depth = 0

    fun whole(): Any? {
        skipSpace()
        val value = value()
        skipSpace()
        if (at < text.length) fail("the JSON ends here, but the file goes on")
        return value
    }

    private fun value(): Any? {
        if (at >= text.length) fail("the text ends where a value is expected")
        return when (val first = text[at]) {
            '{' -> nested(::objectBody)
            '[' -> nested(::listBody)
            '"' -> string()
            't' -> word("true", true)
            'f' -> word("false", false)
            'n' -> word("null", null)
            '-', in '0'..'9' -> number()
            else -> fail("found ${shown(first)} where a value is expected")
        }
    }

    private fun <T> nested(body: () -> T): T {
        if (++depth > Json.MAX_DEPTH) fail("nested more than ${Json.MAX_DEPTH} levels deep")
        at++
        skipSpace()
        return body().also { depth-- }
    }

    private fun objectBody(): Map<String, Any?> {
        val found = LinkedHashMap<String, Any?>()
        if (taken('}')) return found
        while (true) {
            if (at >= text.length || text[at] != '"') fail("expected a key in double quotes")
            val start = at
            val key = string()
            if (found.containsKey(key)) {
                at = start
                fail("key `${key.take(80)}` occurs twice")
            }
            skipSpace()
            if (!taken(':')) fail("expected a colon behind key `${key.take(80)}`")
            skipSpace()
            found[key] = value()
            if (ended('}')) return found
        }
    }

    private fun listBody(): List<Any?> {
        val found = ArrayList<Any?>()
        if (taken(']')) return found
        while (true) {
            found.add(value())
            if (ended(']')) return found
        }
    }

    /** Whether [close] follows; else a comma has to. */
    private fun ended(close: Char): Boolean {
        skipSpace()
        if (taken(close)) return true
        if (at >= text.length) fail("the text ends before `$close`")
        if (!taken(',')) fail("expected a comma or `$close`, found ${shown(text[at])}")
        skipSpace()
        return false
    }

    private fun taken(wanted: Char): Boolean {
        if (at >= text.length || text[at] != wanted) return false
        at++
        return true
    }

    private fun word(word: String, value: Any?): Any? {
        if (!text.startsWith(word, at)) fail("found ${shown(text[at])} where a value is expected")
        at += word.length
        return value
    }

    private fun string(): String {
        val start = at++
        val plain = at
        while (at < text.length && text[at] != '"' && text[at] != '\\' && text[at] >= ' ') at++
        if (at < text.length && text[at] == '"') return text.substring(plain, at++)
        val built = StringBuilder(text.substring(plain, at))
        while (at < text.length) {
            val next = text[at]
            when {
                next == '"' -> {
                    at++
                    return built.toString()
                }

                next == '\\' -> built.append(escaped())

                next < ' ' -> fail("a string holds the control character ${shown(next)}; it has to be escaped")

                else -> {
                    built.append(next)
                    at++
                }
            }
        }
        at = start
        fail("this string has no end")
    }

    private fun escaped(): Char {
        at++
        if (at >= text.length) fail("the text ends inside of a string")
        val kind = text[at++]
        val simple = "\"\\/bfnrt".indexOf(kind)
        if (simple >= 0) return "\"\\/\b\u000C\n\r\t"[simple]
        if (kind != 'u') fail("`\\` is followed by ${shown(kind)}, which is no escape")
        var code = 0
        repeat(4) {
            val digit = if (at < text.length) "0123456789abcdef".indexOf(text[at].lowercaseChar()) else -1
            if (digit < 0) fail("`\\u` is followed by something else than four hexadecimal digits")
            code = 16 * code + digit
            at++
        }
        return code.toChar()
    }

    private fun number(): Any {
        val start = at
        taken('-')
        if (!taken('0') && digits() == 0) fail("`-` is followed by no digit")
        var whole = true
        if (taken('.')) {
            whole = false
            if (digits() == 0) fail("a number has no digit behind its point")
        }
        if (at < text.length && (text[at] == 'e' || text[at] == 'E')) {
            whole = false
            at++
            if (!taken('+')) taken('-')
            if (digits() == 0) fail("a number has no digit in its exponent")
        }
        val written = text.substring(start, at)
        if (whole) written.toLongOrNull()?.let { return it }
        val value = written.toDouble()
        if (value.isInfinite()) {
            at = start
            fail("the number ${written.take(40)} is too large")
        }
        return value
    }

    private fun digits(): Int {
        val start = at
        while (at < text.length && text[at] in '0'..'9') at++
        return at - start
    }

    private fun skipSpace() {
        while (at < text.length && (text[at] == ' ' || text[at] == '\n' || text[at] == '\r' || text[at] == '\t')) at++
    }

    private fun shown(found: Char) = if (found in ' '..'~') "`$found`" else "U+%04X".format(found.code)

    private fun fail(what: String): Nothing {
        val before = text.substring(0, minOf(at, text.length))
        val line = before.count { it == '\n' } + 1
        val column = before.length - (before.lastIndexOf('\n') + 1) + 1
        throw JsonException("$where, line $line, column $column: $what.")
    }
}
