/*
 * What went wrong, as a code with arguments: the app words it in the reader's language.
 */
package org.hydramobile.screens

import org.hydramobile.core.BenchmarkException
import org.hydramobile.core.BundleException
import org.hydramobile.core.BundleProblem
import org.hydramobile.core.GenerationException
import java.io.IOException

/**
 * A problem.
 *
 * [code] is a constant below, or the name of a `BundleProblem`, a `GenerationProblem` or a `BenchmarkFault`. [arguments]
 * are names, numbers with units, or a library's own words, in the order of the app's text.
 */
class Problem(val code: String, val arguments: List<String> = emptyList()) {
    constructor(code: String, vararg arguments: String) : this(code, arguments.toList())

    companion object {
        /** Nothing foresaw it; its own words. */
        const val FAILED = "FAILED"
        const val NO_MEMORY = "OUT_OF_MEMORY"

        /** The source of an import fails; its own words. */
        const val SOURCE = "SOURCE"

        /** The app that has the files of an import says nothing. */
        const val SOURCE_SILENT = "SOURCE_SILENT"
        const val ZIP_DAMAGED = "ZIP_DAMAGED"

        /** The app ended during an import; its name. */
        const val IMPORT_LOST = "IMPORT_LOST"
        const val PICTURE_UNREADABLE = "PICTURE_UNREADABLE"

        /** The app that was asked for a picture gave nothing. */
        const val PICTURE_NONE = "PICTURE_NONE"

        /** No picture that Android can decode. */
        const val PICTURE_FORMAT = "PICTURE_FORMAT"

        /** The file of a picture is not there any more. */
        const val PICTURE_GONE = "PICTURE_GONE"

        /** A picture has more bytes than the limit, in MiB. */
        const val PICTURE_TOO_LARGE = "PICTURE_TOO_LARGE"

        /** The history cannot be written; the system's words. */
        const val NOT_KEPT = "NOT_KEPT"

        /** A model cannot be deleted; its name. */
        const val NOT_DELETED = "NOT_DELETED"

        /** Null: it was stopped by who started it. */
        fun of(error: Throwable): Problem? = known(error) ?: when (error) {
            is BundleException ->
                if (error.problem == BundleProblem.CANCELLED) null else Problem(error.problem.name, error.arguments)

            is GenerationException -> Problem(error.problem.name, error.arguments)

            is BenchmarkException -> {
                val fault = error.fault
                if (fault != null) Problem(fault.name, error.arguments) else of(error.cause!!)
            }

            is OutOfMemoryError -> Problem(NO_MEMORY)

            else -> Problem(FAILED, error.toString())
        }

        /** What is known of [error] or of one that caused it; null: its own words are all there is. */
        fun known(error: Throwable): Problem? =
            generateSequence(error) { it.cause }.filterIsInstance<ProblemException>().firstOrNull()?.problem
    }
}

/** A file cannot be had, for a reason that the app has words for. */
class ProblemException(val problem: Problem, cause: Throwable? = null) : IOException(problem.code, cause)
