/*
 * The first step from text to ids: replacing and composing characters in the whole text.
 */
package org.hydramobile.core

internal fun interface Normalizer {
    fun normalize(text: String): String

    companion object {
        /** The steps of `normalizer` in a tokenizer.json. JsonException: one is unknown. */
        fun of(json: JsonObject): Normalizer = when (val kind = json.string("type")) {
            "Sequence" -> json.objects("normalizers").map(::of).let { steps ->
                Normalizer { text -> steps.fold(text) { value, step -> step.normalize(value) } }
            }

            "Prepend" -> json.string("prepend").let { mark ->
                Normalizer { text -> if (text.isEmpty()) text else mark + text }
            }

            "Replace" -> plainPattern(json).let { old ->
                val new = json.string("content")
                Normalizer { text -> text.replace(old, new) }
            }

            "NFC" -> Normalizer(Composition::compose)

            else -> unknownPart(json, "normalizer", kind, "Sequence, Prepend, Replace, NFC")
        }
    }
}

/** The string that a `Replace` looks for. JsonException: it is a regular expression, or empty. */
internal fun plainPattern(json: JsonObject): String {
    val pattern = json.child("pattern")
    if ("String" !in pattern) unknownPart(json, "pattern", pattern.keys.joinToString(), "String")
    return pattern.string("String").ifEmpty { throw JsonException("${pattern.where}: the pattern is empty.") }
}

internal fun unknownPart(json: JsonObject, part: String, kind: String, known: String): Nothing =
    throw JsonException("${json.where}: the $part `${kind.take(60)}` is not known to this app; it computes $known.")
