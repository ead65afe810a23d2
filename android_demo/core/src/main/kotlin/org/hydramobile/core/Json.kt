/*
 * A strict reader and a writer of JSON.
 *
 * The bundle is data from outside: whatever is wrong in it becomes a `JsonException` with line and column,
 * never a crash. Objects become `Map<String, Any?>` in file order, lists `List<Any?>`, whole numbers `Long`,
 * others `Double`. Knows no keys; `JsonObject` does the typed look-ups. Called by everything that reads or
 * writes a file of ours.
 */
package org.hydramobile.core

/** Text that is no JSON, or JSON that lacks what is expected; [message] says where and what. */
class JsonException(message: String) : Exception(message)

/** Reading and writing of JSON text. */
object Json {
    /** How deep lists and objects may be nested; deeper ones could exhaust the stack. */
    const val MAX_DEPTH = 64

    /**
     * Value of a whole [text].
     *
     * Refused beside what is no JSON: a key that occurs twice, numbers beyond a double, and more than
     * [MAX_DEPTH] levels. [where] names the file in messages.
     *
     * @throws JsonException with line and column.
     */
    fun parse(text: String, where: String): Any? = JsonReader(text, where).whole()

    /** As [parse], of UTF-8 [bytes]. */
    fun parse(bytes: ByteArray, where: String): Any? {
        val broken = Utf8.firstBroken(bytes)
        if (broken >= 0) throw JsonException("$where: byte $broken is no UTF-8; the file is damaged or is no JSON.")
        return parse(Utf8.decode(bytes), where)
    }

    /** [parse], where an object is expected. */
    fun parseObject(bytes: ByteArray, where: String): JsonObject = JsonObject.of(parse(bytes, where), where)

    /** [parse], where an object is expected. */
    fun parseObject(text: String, where: String): JsonObject = JsonObject.of(parse(text, where), where)

    /**
     * One line of JSON for maps, lists and arrays, strings, booleans, numbers and null.
     *
     * Numbers that JSON does not have (NaN, infinities) become null.
     */
    fun write(value: Any?): String = StringBuilder().also { write(value, it) }.toString()

    private fun write(value: Any?, out: StringBuilder) {
        when (value) {
            null -> out.append("null")

            is String -> quote(value, out)

            is Boolean, is Int, is Long -> out.append(value)

            is Float -> if (value.isFinite()) out.append(value) else out.append("null")

            is Double -> if (value.isFinite()) out.append(value) else out.append("null")

            is Map<*, *> -> {
                out.append('{')
                var first = true
                for ((key, item) in value) {
                    if (!first) out.append(", ")
                    first = false
                    quote(key as String, out)
                    out.append(": ")
                    write(item, out)
                }
                out.append('}')
            }

            is IntArray -> write(value.asList(), out)

            is Iterable<*> -> {
                out.append('[')
                for ((index, item) in value.withIndex()) {
                    if (index > 0) out.append(", ")
                    write(item, out)
                }
                out.append(']')
            }

            else -> throw IllegalArgumentException("${value.javaClass.name} has no form in JSON")
        }
    }

    private fun quote(text: String, out: StringBuilder) {
        out.append('"')
        var at = 0
        while (at < text.length) {
            val point = Utf8.codePointAt(text, at)
            at += Character.charCount(point)
            when {
                point == '"'.code -> out.append("\\\"")

                point == '\\'.code -> out.append("\\\\")

                point == '\n'.code -> out.append("\\n")

                point == '\r'.code -> out.append("\\r")

                point == '\t'.code -> out.append("\\t")

                // The last two end a line for some readers of jsonl.
                point < 0x20 || point == 0x7F || point == 0x85 || point == 0x2028 || point == 0x2029 -> {
                    val hex = Integer.toHexString(point)
                    out.append("\\u").append("0000", 0, 4 - hex.length).append(hex)
                }

                else -> out.appendCodePoint(point)
            }
        }
        out.append('"')
    }
}
