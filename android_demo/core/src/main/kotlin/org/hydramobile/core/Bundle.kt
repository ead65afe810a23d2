/*
 * A bundle: an exported folder that has been found whole and fit for this device.
 *
 * Only `Bundle.open` makes one, so that a runtime, which takes a `Bundle`, never sees a program that has not
 * been checked. Knows no runtime. Called by the app's model manager and by its benchmark mode.
 */
package org.hydramobile.core

import java.io.File
import java.io.IOException

/** A checked bundle in [folder]. Reading its tokenizer is put off until it is asked for. */
class Bundle private constructor(val folder: File, val manifest: Manifest) {
    val runtime: String get() = manifest.runtime
    val stopIds: IntArray get() = manifest.stopIds

    /** The tokenizer; half a second or so on a phone at the first call. BundleException: it cannot be used. */
    val tokenizer: Tokenizer by lazy { readTokenizer(file("tokenizer")) }

    /** The template, with the tokenizer's ids. */
    val template: PromptTemplate by lazy { PromptTemplate(manifest.template, tokenizer, manifest.imageToken) }

    /** Ids of the text before each square of a picture; one empty list without tiles. */
    val squareTexts: List<IntArray> by lazy {
        manifest.image.tiles?.texts?.map(template::idsOf) ?: listOf(IntArray(0))
    }

    /** Tokens in a picture's place: those of all squares, and of the texts between them. */
    val pictureTokens: Int get() = squareTexts.sumOf { it.size + manifest.imageTokens }

    /** Picture to pixels, as the model was trained. */
    val preprocessor: ImagePreprocessor get() = ImagePreprocessor(manifest.image)

    /**
     * The file with a role, for example "text_decoder".
     *
     * @throws BundleException there is none.
     */
    fun file(role: String): File {
        val entry = manifest.files.firstOrNull { it.role == role } ?: refuse(
            BundleProblem.DAMAGED_MANIFEST,
            "${Manifest.NAME} names no file with role `$role`; it has ${manifest.files.map { it.role }.distinct()}.",
            "Export the bundle again.",
        )
        return File(folder, entry.name)
    }

    companion object {
        private const val COPY_AGAIN = "The file was altered, or cut short in a copy; copy or export the bundle again."

        /**
         * Read the manifest, and check the device, then every file.
         *
         * [device]: what to fit into; null skips that. [runtimes]: those that the app has; null: any.
         * [progress]: of hashing, and a way to stop it. [verifyHashes]: false compares sizes only, for a bundle
         * whose hashes were compared before.
         *
         * @throws BundleException with the kind of the first problem.
         */
        fun open(
            folder: File,
            device: DeviceLimits? = null,
            runtimes: Set<String>? = null,
            progress: CheckProgress? = null,
            verifyHashes: Boolean = true,
        ): Bundle {
            try {
                val manifest = readManifest(folder, runtimes)
                device?.require(manifest)
                // All sizes before any hash: they are known at once.
                for (entry in manifest.files) requireFile(folder, entry)
                if (verifyHashes) requireHashes(folder, manifest, progress)
                return Bundle(folder, manifest)
            } catch (error: IOException) {
                refuse(
                    BundleProblem.UNREADABLE_FILE,
                    "$folder cannot be read: ${error.message}.",
                    "Check the storage and the app's access to it.",
                )
            }
        }

        private fun readManifest(folder: File, runtimes: Set<String>?): Manifest {
            val file = File(folder, Manifest.NAME)
            if (!folder.isDirectory) {
                refuse(
                    BundleProblem.MISSING_FILE,
                    "$folder is no folder: expected a bundle.",
                    "Choose the folder that holds ${Manifest.NAME}.",
                    folder.name,
                )
            }
            if (!file.isFile) {
                refuse(
                    BundleProblem.MISSING_FILE,
                    "$file is missing: expected the manifest of a bundle.",
                    "Choose a folder that `hydra-mobile export` wrote, and copy all of it.",
                    Manifest.NAME,
                )
            }
            if (file.length() > Manifest.MOST_BYTES) {
                refuse(
                    BundleProblem.DAMAGED_MANIFEST,
                    "$file has ${file.length()} bytes, expected at most ${Manifest.MOST_BYTES}.",
                    "It is no manifest; export the bundle again.",
                )
            }
            return Manifest.parse(file.readBytes(), file.path, runtimes)
        }

        private fun requireFile(folder: File, entry: BundleFile) {
            val file = File(folder, entry.name)
            // Links count as what they point to.
            if ('\u0000' in entry.name || !file.canonicalPath.startsWith(folder.canonicalPath + File.separator)) {
                refuse(
                    BundleProblem.UNSAFE_PATH,
                    "${Manifest.NAME} names the file `${entry.name.take(200)}`, which lies outside of the bundle.",
                    "Do not use this bundle unless you know who made it.",
                )
            }
            if (!file.isFile) {
                val what = "$file is missing; the manifest names it."
                refuse(BundleProblem.MISSING_FILE, what, COPY_AGAIN, entry.name)
            }
            if (file.length() != entry.bytes) {
                refuse(
                    BundleProblem.WRONG_SIZE,
                    "$file has ${file.length()} bytes, the manifest says ${entry.bytes}.",
                    COPY_AGAIN,
                    entry.name,
                )
            }
        }

        private fun requireHashes(folder: File, manifest: Manifest, progress: CheckProgress?) {
            val total = manifest.totalBytes
            var done = 0L
            for (entry in manifest.files) {
                val file = File(folder, entry.name)
                val found = FileHash.sha256(file) { count ->
                    done += count
                    progress?.onBytes(done, total) ?: true
                }
                if (found == null) {
                    refuse(BundleProblem.CANCELLED, "The check of $folder was stopped.", "Start it again.")
                }
                if (found != entry.sha256) {
                    val what = "$file has sha256 $found, the manifest says ${entry.sha256}."
                    refuse(BundleProblem.WRONG_HASH, what, COPY_AGAIN, entry.name)
                }
            }
        }

        private fun readTokenizer(file: File): Tokenizer = try {
            Tokenizer.read(file)
        } catch (error: JsonException) {
            refuse(
                BundleProblem.UNREADABLE_TOKENIZER,
                error.message.orEmpty(),
                "Export the bundle again; if its tokenizer is of a new kind, the app has to learn it first.",
            )
        } catch (error: IOException) {
            refuse(BundleProblem.UNREADABLE_FILE, "$file cannot be read: ${error.message}.", "Copy the bundle again.")
        }
    }
}
