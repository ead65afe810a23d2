/*
 * What can be wrong with a bundle, one name for each, and the error that carries it.
 */
package org.hydramobile.core

/** Kinds of problems; the message of a [BundleException] tells the particulars. */
enum class BundleProblem {
    /** A file that the manifest names, the manifest itself or the folder is not there. */
    MISSING_FILE,

    /** A file is longer or shorter than the manifest says. */
    WRONG_SIZE,

    /** A file's sha256 is not the manifest's. */
    WRONG_HASH,

    /** Written for a later version of the app. */
    NEWER_SCHEMA,

    /** Written by an exporter from before this format. */
    OLDER_SCHEMA,

    /** No JSON, a key missing, or a value that cannot be. */
    DAMAGED_MANIFEST,

    /** The manifest names a file outside of the bundle. */
    UNSAFE_PATH,

    /** A program of another runtime than was asked for. */
    OTHER_RUNTIME,

    /** Adapters lie beside the program instead of in it. */
    SEPARATE_ADAPTERS,

    /** The program is for other processors. */
    WRONG_ABI,

    /** The program needs a later Android. */
    OLD_ANDROID,

    /** The device has too little memory, whatever else runs. */
    TOO_LARGE,

    /** The device has enough memory, but other apps hold it now. */
    MEMORY_TAKEN,

    /** A copy of the bundle does not fit on the disk. */
    DISK_FULL,

    /** `tokenizer.json` is damaged, or has a part that this app does not compute. */
    UNREADABLE_TOKENIZER,

    /** The storage fails, or denies access. */
    UNREADABLE_FILE,

    /** A copy cannot be written, though there is room for it. */
    UNWRITABLE_FILE,

    /** The caller stopped the check. */
    CANCELLED,
}

/**
 * A bundle that is not usable: [problem] with its [arguments] for programs, which may word it in another language, the
 * message (what, and how to mend it) for people.
 */
class BundleException(val problem: BundleProblem, message: String, val arguments: List<String> = listOf(message)) :
    Exception(message)

internal fun refuse(problem: BundleProblem, what: String, mend: String, vararg arguments: String): Nothing =
    throw BundleException(problem, "$what $mend", arguments.toList().ifEmpty { listOf(what) })
