/*
 * From tokens back to text.
 */
package org.hydramobile.core

/** Steps that turn tokens into text; each takes and gives a list of pieces. */
internal class Decoder(private val steps: List<(List<String>) -> List<String>>, private val separator: String) {
    fun decode(tokens: List<String>): String =
        steps.fold(tokens) { pieces, step -> step(pieces) }.joinToString(separator)

    companion object {
        /** What a tokenizer without a decoder does. */
        val PLAIN = Decoder(emptyList(), " ")

        /** The steps of `decoder` in a tokenizer.json. JsonException: one is unknown. */
        fun of(json: JsonObject): Decoder = Decoder(
            if (json.string("type") == "Sequence") json.objects("decoders").map(::step) else listOf(step(json)),
            separator = "",
        )

        private fun step(json: JsonObject): (List<String>) -> List<String> = when (val kind = json.string("type")) {
            "ByteLevel" -> ::bytesToText
            "ByteFallback" -> ::fallbackToText
            "Fuse" -> { pieces -> listOf(pieces.joinToString("")) }
            "Replace" -> replace(plainPattern(json), json.string("content"))
            "Strip" -> strip(json.string("content"), json.count("start"), json.count("stop"))
            "Metaspace" -> spaces(json.string("replacement"), json.string("prepend_scheme") != "never")
            else -> unknownPart(json, "decoder", kind, KNOWN)
        }

        private const val KNOWN = "Sequence, ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace"

        private fun replace(old: String, new: String): (List<String>) -> List<String> =
            { pieces -> pieces.map { it.replace(old, new) } }

        private fun strip(content: String, start: Int, stop: Int): (List<String>) -> List<String> = { pieces ->
            pieces.map { piece ->
                var from = 0
                while (from < start && piece.startsWith(content, from * content.length)) from++
                var end = piece.length
                var cut = 0
                while (cut < stop && end > from * content.length && piece.substring(0, end).endsWith(content)) {
                    end -= content.length
                    cut++
                }
                piece.substring(from * content.length, end)
            }
        }

        private fun spaces(mark: String, firstIsDropped: Boolean): (List<String>) -> List<String> = { pieces ->
            pieces.mapIndexed { index, piece -> piece.replace(mark, if (index == 0 && firstIsDropped) "" else " ") }
        }

        private fun bytesToText(tokens: List<String>): List<String> {
            val bytes = java.io.ByteArrayOutputStream()
            for (token in tokens) {
                val values = token.map(ByteAlphabet::byteOf)
                // An added token is written as it is.
                if (values.any { it < 0 }) bytes.write(Utf8.encode(token)) else values.forEach(bytes::write)
            }
            return listOf(Utf8.decode(bytes.toByteArray()))
        }

        private fun fallbackToText(tokens: List<String>): List<String> {
            val pieces = ArrayList<String>(tokens.size)
            val run = java.io.ByteArrayOutputStream()
            fun close() {
                val bytes = run.toByteArray()
                // As the Python side does: one wrong byte, and each of the run is shown as unknown.
                if (Utf8.firstBroken(bytes) < 0) {
                    pieces.add(Utf8.decode(bytes))
                } else {
                    repeat(bytes.size) { pieces.add(Utf8.REPLACEMENT.toString()) }
                }
                run.reset()
            }
            for (token in tokens) {
                val byte = byteOf(token)
                if (byte >= 0) {
                    run.write(byte)
                } else {
                    if (run.size() > 0) close()
                    pieces.add(token)
                }
            }
            if (run.size() > 0) close()
            return pieces
        }

        private fun byteOf(token: String): Int =
            if (token.length == 6 && token.startsWith("<0x") && token.endsWith('>')) {
                val digits = token.substring(3, 5)
                if (digits.all { it in '0'..'9' || it in 'a'..'f' || it in 'A'..'F' }) digits.toInt(16) else -1
            } else {
                -1
            }
    }
}
