/*
 * What can go wrong between a question and its answer, one name for each, and the error that carries it.
 */
package org.hydramobile.core

/** Kinds of problems; the message of a [GenerationException] tells the particulars. */
enum class GenerationProblem {
    /** The runtime's library is missing, or does not accept the program. */
    CANNOT_LOAD,

    /** There is nothing to answer. */
    EMPTY_PROMPT,

    /** Prompt and picture do not fit into the context of the bundle. */
    PROMPT_TOO_LONG,

    /** The picture cannot be read, or has another shape than the model takes. */
    UNUSABLE_PICTURE,

    /** A caller asked the runtime for what it cannot do; a fault of the app. */
    MISUSED,

    /** The runtime reported an error, or computed no numbers. */
    RUNTIME_FAILED,

    /** The device has no memory left. */
    OUT_OF_MEMORY,
}

/**
 * An answer that could not be given: [problem] with its [arguments] for programs, which may word it in another language,
 * the message (what, and how to mend it) for people.
 */
class GenerationException(
    val problem: GenerationProblem,
    message: String,
    cause: Throwable? = null,
    val arguments: List<String> = listOf(message),
) : Exception(message, cause)
