/*
 * Why a batch of questions ended early, with the exit codes of the native runner (`native/README.md`).
 */
package org.hydramobile.core

/** Kinds of failures; [code] is what a program ends with. */
enum class BenchmarkProblem(val code: Int) {
    /** Bundle, requests or earlier answers are wrong; nothing was answered. */
    INPUT(2),

    /** The runtime could not load or run the program. */
    RUNTIME(3),

    /** Answers cannot be written: full disk, missing folder. */
    OUTPUT(4),

    /** No memory left. */
    MEMORY(5),

    /** Stopped by the user; the same call goes on. */
    STOPPED(6),
}

/** What a batch itself finds wrong, one name for each; their arguments are told beside them. */
enum class BenchmarkFault(val problem: BenchmarkProblem) {
    /** File of requests, the system's words. */
    REQUESTS_UNREADABLE(BenchmarkProblem.INPUT),

    /** What is wrong with a line, with its place. */
    REQUEST_DAMAGED(BenchmarkProblem.INPUT),

    /** Place, the id that another line has. */
    REQUEST_TWICE(BenchmarkProblem.INPUT),

    /** Place, the token's id, the largest that there is. */
    REQUEST_OUTSIDE(BenchmarkProblem.INPUT),

    /** Place. */
    REQUEST_EMPTY(BenchmarkProblem.INPUT),

    /** Place, tokens of the prompt, tokens that the program holds. */
    REQUEST_TOO_LONG(BenchmarkProblem.INPUT),

    /** Place, file of the picture. */
    REQUEST_WITHOUT_PICTURE(BenchmarkProblem.INPUT),

    /** Place in the file of answers. */
    OTHER_ANSWERS(BenchmarkProblem.INPUT),

    /** Place in the file of answers, what is wrong there. */
    NO_ANSWER(BenchmarkProblem.INPUT),

    /** File, the system's words. */
    NOT_WRITTEN(BenchmarkProblem.OUTPUT),

    /** How many answers there are. */
    BATCH_STOPPED(BenchmarkProblem.STOPPED),
    BATCH_BUSY(BenchmarkProblem.STOPPED),
}

/**
 * A batch that ended early; answers written so far are kept.
 *
 * [fault] with its [arguments] is for programs, which may word it in another language; null: [cause] is what happened.
 * The message is for people.
 */
class BenchmarkException private constructor(
    val problem: BenchmarkProblem,
    message: String,
    cause: Throwable?,
    val fault: BenchmarkFault?,
    val arguments: List<String>,
) : Exception(message, cause) {
    constructor(fault: BenchmarkFault, message: String, vararg arguments: String, cause: Throwable? = null) :
        this(fault.problem, message, cause, fault, arguments.toList())

    private constructor(problem: BenchmarkProblem, message: String, cause: Throwable) :
        this(problem, message, cause, null, emptyList())

    companion object {
        /** [error] as the end of a batch; what nothing foresaw is the runtime's or the app's fault. */
        fun of(error: Throwable): BenchmarkException = when (error) {
            is BenchmarkException -> error
            is BundleException -> BenchmarkException(BenchmarkProblem.INPUT, error.message.orEmpty(), error)
            is GenerationException -> BenchmarkException(problemOf(error.problem), error.message.orEmpty(), error)
            is OutOfMemoryError -> BenchmarkException(BenchmarkProblem.MEMORY, "No memory is left: $error.", error)
            else -> BenchmarkException(BenchmarkProblem.RUNTIME, "The app failed: $error. Report it.", error)
        }

        private fun problemOf(problem: GenerationProblem): BenchmarkProblem = when (problem) {
            GenerationProblem.OUT_OF_MEMORY -> BenchmarkProblem.MEMORY

            GenerationProblem.CANNOT_LOAD, GenerationProblem.RUNTIME_FAILED, GenerationProblem.MISUSED ->
                BenchmarkProblem.RUNTIME

            GenerationProblem.EMPTY_PROMPT, GenerationProblem.PROMPT_TOO_LONG, GenerationProblem.UNUSABLE_PICTURE ->
                BenchmarkProblem.INPUT
        }
    }
}
