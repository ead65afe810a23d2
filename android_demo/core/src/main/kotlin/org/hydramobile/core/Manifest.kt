/*
 * `manifest.json` of a bundle: what the exporter says about it, read and checked.
 *
 * Reads text only and touches no other file, so that an import can be judged before anything is copied
 * (`Manifest.parse`, then `DeviceLimits.require`). `hydra_mobile/bundle/bundle.py` writes it. Called by `Bundle`.
 */
package org.hydramobile.core

/** One file of a bundle: its path in the folder, what it is for, and what it must be. */
class BundleFile(val name: String, val role: String, val bytes: Long, val sha256: String)

/** The manifest; its numbers are within sane bounds once it has been parsed. */
class Manifest private constructor(private val json: JsonObject) {
    val target: String = json.string("target")

    /** What runs the program: "onnx", "executorch". */
    val runtime: String = json.string("runtime")
    val preset: String = json.child("preset").string("name")

    /** Name of the base model; empty where the exporter did not know it. */
    val base: String = json.child("sources").values["base"] as? String ?: ""

    /** Tokens that the cache holds, image tokens included. */
    val maxContext: Int = positive("limits", "max_context")

    /** Most rows of one decoder call. */
    val maxPrefill: Int = positive("limits", "max_prefill")
    val vocabSize: Int = positive("shapes", "vocab_size")
    val hiddenSize: Int = positive("shapes", "hidden_size")
    val layers: Int = positive("shapes", "layers")
    val kvHeads: Int = positive("shapes", "kv_heads")
    val headSize: Int = positive("shapes", "head_dim")

    /** Tokens of one square of a picture. */
    val imageTokens: Int = positive("shapes", "num_image_tokens")

    /** Id that stands for a picture in a tokenizer's text; no program embeds it. */
    val imageToken: Int = json.child("shapes").int("image_token_id")

    /** Ids that end an answer. */
    val stopIds: IntArray = json.ints("stop_ids")
    val template: TemplateText = TemplateText.of(json.child("template"))
    val image: ImageRecipe = ImageRecipe.of(json.child("image"))

    /** How picture files are read, see [PictureReading]; earlier bundles do not say and were made for turned ones. */
    val turnsPictures: Boolean =
        if (json.lacks("pictures")) true else json.child("pictures").let { it.lacks("turn") || it.boolean("turn") }
    val files: List<BundleFile> = json.child("files").let { all -> all.keys.map { file(it, all.child(it)) } }

    /** ABIs that the program runs on; null: not said. */
    val abis: List<String>? = requires()?.let { if (it.lacks("abis")) null else it.strings("abis") }

    /** Least Android API level; null: not said. */
    val androidApi: Int? = requires()?.let { if (it.lacks("android_api")) null else it.int("android_api") }

    /** Memory that it takes; null for a runtime that nothing is known about. */
    val footprint: Footprint? = Footprint.of(json)

    /** What the target noted about its program, for the runtimes. */
    val details: JsonObject = json.child("details")

    /** Bytes of the program, the tokenizer and the like: what a user calls the size of the model. */
    val modelBytes: Long get() = files.filter { !it.role.startsWith("golden") }.sumOf { it.bytes }

    /** Bytes of all files. */
    val totalBytes: Long get() = files.sumOf { it.bytes }

    private fun requires(): JsonObject? = if (json.lacks("requires")) null else json.child("requires")

    private fun positive(group: String, key: String): Int {
        val child = json.child(group)
        val value = child.int(key)
        if (value !in 1..LARGEST) {
            throw JsonException("${child.where}: key `$key` is $value, expected 1 to $LARGEST.")
        }
        return value
    }

    private fun file(name: String, entry: JsonObject): BundleFile {
        val bytes = entry.long("bytes")
        if (bytes < 0 || bytes > LARGEST_FILE) throw JsonException("${entry.where}: key `bytes` is $bytes.")
        val sha256 = entry.string("sha256").lowercase()
        if (!Regex("[0-9a-f]{64}").matches(sha256)) {
            throw JsonException(
                "${entry.where}: key `sha256` is \"${sha256.take(80)}\", expected 64 hexadecimal digits.",
            )
        }
        return BundleFile(name, entry.string("role"), bytes, sha256)
    }

    private fun requireRoles() {
        val needed = ROLES[runtime].orEmpty() + "tokenizer"
        for (role in needed) {
            val count = files.count { it.role == role }
            if (count != 1) {
                throw JsonException("${json.where}: `files` has $count files with role `$role`, expected one.")
            }
        }
    }

    companion object {
        const val NAME = "manifest.json"
        const val SCHEMA = 1L

        /** Key of the sha256 of the manifest itself. */
        private const val SEAL = "manifest_sha256"

        /** Within a string of JSON its quotes would have backslashes: the key is found nowhere else. */
        private val SEALED = Regex("\"$SEAL\": \"([0-9a-f]{64})\"")

        /** More than any manifest has; what is larger is none. */
        const val MOST_BYTES = 8L shl 20
        private const val LARGEST = 1 shl 24
        private const val LARGEST_FILE = 1L shl 40
        private const val AGAIN = "Copy the bundle again, or export it again with `hydra-mobile export`."
        private val ROLES = mapOf(
            "onnx" to listOf("vision_encoder", "token_embedding", "text_decoder"),
            "executorch" to listOf("program"),
        )

        /**
         * Read a manifest.
         *
         * [where] names the file in messages. [runtimes]: those that can be used here; null: any.
         *
         * @throws BundleException DAMAGED_MANIFEST, NEWER_SCHEMA, OLDER_SCHEMA, OTHER_RUNTIME or SEPARATE_ADAPTERS.
         */
        fun parse(bytes: ByteArray, where: String, runtimes: Set<String>? = null): Manifest {
            try {
                val json = Json.parseObject(bytes, where)
                requireSeal(json, bytes)
                requireSchema(json)
                requireProgram(json, runtimes)
                return Manifest(json).also { it.requireRoles() }
            } catch (error: JsonException) {
                refuse(BundleProblem.DAMAGED_MANIFEST, error.message.orEmpty(), AGAIN)
            }
        }

        /**
         * Compare the sha256 of [bytes], with zeros in its place, with the key that holds it; manifests of earlier
         * versions have none.
         */
        private fun requireSeal(json: JsonObject, bytes: ByteArray) {
            if (json.lacks(SEAL) || json.string(SEAL) == sealOf(bytes)) return
            refuse(
                BundleProblem.DAMAGED_MANIFEST,
                "${json.where} was altered: its bytes have another sha256 than its key `$SEAL` says.",
                AGAIN,
            )
        }

        private fun sealOf(bytes: ByteArray): String {
            // One character for each byte: places in the text are places in the file.
            val text = String(bytes, Charsets.ISO_8859_1)
            val digits = SEALED.find(text)?.groups?.get(1)?.range ?: return FileHash.sha256(bytes)
            return FileHash.sha256(bytes.copyOf().also { it.fill('0'.code.toByte(), digits.first, digits.last + 1) })
        }

        private fun requireSchema(json: JsonObject) {
            val schema = json.long("schema")
            if (schema > SCHEMA) {
                refuse(
                    BundleProblem.NEWER_SCHEMA,
                    "${json.where}: the bundle has format $schema, this app reads format $SCHEMA.",
                    "Update the app, or export the bundle with the version of hydra-mobile that belongs to it.",
                )
            }
            if (schema < SCHEMA) {
                refuse(
                    BundleProblem.OLDER_SCHEMA,
                    "${json.where}: the bundle has format $schema, this app reads format $SCHEMA.",
                    "Export it again with this version of hydra-mobile.",
                )
            }
        }

        private fun requireProgram(json: JsonObject, runtimes: Set<String>?) {
            val runtime = json.string("runtime")
            if (runtimes != null && runtime !in runtimes) {
                refuse(
                    BundleProblem.OTHER_RUNTIME,
                    "${json.where}: the program is for the runtime `${runtime.take(40)}`, this app has " +
                        "${runtimes.joinToString()}.",
                    "Export it with `--target android --runtime ${runtimes.first()}`.",
                    runtime.take(40),
                    runtimes.joinToString(),
                )
            }
            if (!json.lacks("adapters")) {
                refuse(
                    BundleProblem.SEPARATE_ADAPTERS,
                    "${json.where}: the bundle holds adapters beside its program, and the app reads merged ones only.",
                    "Export it without `--adapter separate`.",
                )
            }
        }
    }
}
