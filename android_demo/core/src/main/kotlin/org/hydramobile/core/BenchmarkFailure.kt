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

/** A batch that ended early; answers written so far are kept. The message is for people. */
class BenchmarkException(val problem: BenchmarkProblem, message: String, cause: Throwable? = null) :
    Exception(message, cause) {
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
