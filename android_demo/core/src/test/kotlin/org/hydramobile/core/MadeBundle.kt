/*
 * A bundle of a few bytes for tests, whole until a test breaks it.
 */
package org.hydramobile.core

import java.io.File
import java.security.MessageDigest

internal class MadeBundle(val folder: File) {
    private val contents = linkedMapOf(
        "vision_encoder.onnx" to ("vision_encoder" to ByteArray(300_000) { it.toByte() }),
        "embed_tokens.onnx" to ("token_embedding" to "rows".toByteArray()),
        "decoder_model_merged.onnx" to ("text_decoder" to ByteArray(500_000) { (it * 7).toByte() }),
        "tokenizer.json" to ("tokenizer" to TOKENIZER.toByteArray()),
        "golden/0.png" to ("golden_image" to "picture".toByteArray()),
    )

    /** The manifest; what a test changes in it counts once [write] has been called. */
    val manifest: MutableMap<String, Any?> = linkedMapOf(
        "schema" to 1,
        "target" to "android",
        "runtime" to "onnx",
        "preset" to mapOf("name" to "int4", "decoder" to "w4a8", "head" to "w4a8"),
        "limits" to mapOf("max_context" to 256, "max_prefill" to 128),
        "shapes" to linkedMapOf<String, Any?>(
            "vocab_size" to 320, "hidden_size" to 64, "layers" to 2, "kv_heads" to 2, "head_dim" to 16,
            "image_size" to 32, "image_token_id" to 320, "num_image_tokens" to 4,
        ),
        "template" to linkedMapOf<String, Any?>(
            "name" to "chatml", "start" to "", "user_prefix" to "<|im_start|>", "image_suffix" to "b",
            "user_suffix" to "", "answer_prefix" to "a", "answer_suffix" to "a",
        ),
        "image" to linkedMapOf<String, Any?>(
            "size" to 32, "mean" to listOf(0.5, 0.5, 0.5), "std" to listOf(0.5, 0.5, 0.5), "fit" to "pad",
            "resample" to "bicubic",
        ),
        "stop_ids" to listOf(2),
        "files" to contents.entries.associateTo(LinkedHashMap<String, Any?>()) { (name, content) ->
            name to linkedMapOf<String, Any?>(
                "role" to content.first, "bytes" to content.second.size, "sha256" to sha256(content.second),
            )
        },
        "sources" to mapOf("base" to "tiny"),
        "details" to emptyMap<String, Any?>(),
    )

    init {
        for ((name, content) in contents) {
            file(name).parentFile!!.mkdirs()
            file(name).writeBytes(content.second)
        }
        write()
    }

    fun file(name: String) = File(folder, name)

    @Suppress("UNCHECKED_CAST")
    fun part(key: String) = manifest[key] as MutableMap<String, Any?>

    @Suppress("UNCHECKED_CAST")
    fun entry(name: String) = part("files")[name] as MutableMap<String, Any?>

    fun write() = file("manifest.json").writeText(Json.write(manifest))

    /** Put [text] into the file of the tokenizer, with size and hash to match. */
    fun tokenizer(text: String) {
        file("tokenizer.json").writeText(text)
        entry("tokenizer.json")["bytes"] = text.toByteArray().size
        entry("tokenizer.json")["sha256"] = sha256(text.toByteArray())
        write()
    }

    companion object {
        const val TOKENIZER = """{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
            "added_tokens": [{"id": 3, "content": "<|im_start|>", "special": true, "normalized": false}],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
            "decoder": {"type": "ByteLevel"}}"""

        fun sha256(bytes: ByteArray) =
            MessageDigest.getInstance("SHA-256").digest(bytes).joinToString("") { "%02x".format(it.toInt() and 0xFF) }
    }
}
