/*
 * What went wrong, as a code with arguments: the app words it in the reader's language.
 */
package org.hydramobile.screens

import org.hydramobile.core.BenchmarkException
import org.hydramobile.core.BundleException
import org.hydramobile.core.BundleProblem
import org.hydramobile.core.GenerationException

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

        /** The app ended during an import; its name. */
        const val IMPORT_LOST = "IMPORT_LOST"
        const val PICTURE_UNREADABLE = "PICTURE_UNREADABLE"

        /** A picture has more bytes than the limit, in MiB. */
        const val PICTURE_TOO_LARGE = "PICTURE_TOO_LARGE"

        /** The history cannot be written; the system's words. */
        const val NOT_KEPT = "NOT_KEPT"

        /** A model cannot be deleted; its name. */
        const val NOT_DELETED = "NOT_DELETED"

        /** Null: it was stopped by who started it. */
        fun of(error: Throwable): Problem? = when (error) {
            is BundleException ->
                if (error.problem == BundleProblem.CANCELLED) null else Problem(error.problem.name, error.arguments)

            is GenerationException -> Problem(error.problem.name, error.arguments)

            is BenchmarkException -> {
                val fault = error.fault
                if (fault != null) Problem(fault.name, error.arguments) else of(error.cause!!)
            }

            is PictureException -> error.problem

            is OutOfMemoryError -> Problem(NO_MEMORY)

            else -> Problem(FAILED, error.toString())
        }
    }
}
