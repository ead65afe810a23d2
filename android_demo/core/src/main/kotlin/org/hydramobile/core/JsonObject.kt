/*
 * Typed look-ups in an object that was read from JSON, with messages that name file and key.
 */
package org.hydramobile.core

/** An object of a file: [where] is the file and the keys that lead to it. */
class JsonObject(val where: String, val values: Map<String, Any?>) {
    val keys: Set<String> get() = values.keys

    operator fun contains(key: String): Boolean = values.containsKey(key)

    /** Whether [key] is absent or null. */
    fun lacks(key: String): Boolean = values[key] == null

    fun string(key: String): String = values[key] as? String ?: refuse(key, "a string")

    fun boolean(key: String): Boolean = values[key] as? Boolean ?: refuse(key, "true or false")

    fun long(key: String): Long = values[key] as? Long ?: refuse(key, "a whole number")

    fun int(key: String): Int {
        val value = long(key)
        if (value < Int.MIN_VALUE || value > Int.MAX_VALUE) refuse(key, "a number of at most 32 bits")
        return value.toInt()
    }

    /** A size or a count: not negative. */
    fun count(key: String): Int = int(key).also { if (it < 0) refuse(key, "a number from 0 on") }

    fun double(key: String): Double = number(values[key]) ?: refuse(key, "a number")

    fun child(key: String): JsonObject = of(values[key], "$where: `$key`")

    fun list(key: String): List<Any?> = values[key] as? List<*> ?: refuse(key, "a list")

    fun strings(key: String): List<String> = list(key).map { it as? String ?: refuse(key, "a list of strings") }

    fun doubles(key: String): DoubleArray =
        list(key).map { number(it) ?: refuse(key, "a list of numbers") }.toDoubleArray()

    fun ints(key: String): IntArray = list(key).map {
        val value = it as? Long ?: refuse(key, "a list of whole numbers")
        if (value < Int.MIN_VALUE || value > Int.MAX_VALUE) refuse(key, "numbers of at most 32 bits")
        value.toInt()
    }.toIntArray()

    fun objects(key: String): List<JsonObject> =
        list(key).mapIndexed { index, item -> of(item, "$where: `$key[$index]`") }

    private fun number(value: Any?): Double? = (value as? Double) ?: (value as? Long)?.toDouble()

    private fun refuse(key: String, expected: String): Nothing = throw JsonException(
        if (key in values) {
            "$where: key `$key` is ${shown(values[key])}, expected $expected."
        } else {
            "$where: key `$key` is missing, expected $expected."
        },
    )

    companion object {
        /** [value] as an object, if it is one. */
        fun of(value: Any?, where: String): JsonObject {
            val map = value as? Map<*, *>
                ?: throw JsonException("$where is ${shown(value)}, expected an object.")
            @Suppress("UNCHECKED_CAST")
            return JsonObject(where, map as Map<String, Any?>)
        }

        private fun shown(value: Any?): String = when (value) {
            is Map<*, *> -> "an object"
            is List<*> -> "a list"
            is String -> "the string \"${value.take(40)}\""
            else -> value.toString()
        }
    }
}
