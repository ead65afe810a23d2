/*
 * Numbers that sum up repeats. Called by the speed test and the screens that show it.
 */
package org.hydramobile.core

/** Repeats of one measurement: [median], and the range from [least] to [most]. */
class Summary(val count: Int, val median: Double, val least: Double, val most: Double) {
    /** Width of the range in shares of the median; 0 for one repeat. Large: the device was busy, or throttled. */
    val spread: Double get() = if (median == 0.0) 0.0 else (most - least) / median

    companion object {
        /** Null without values. */
        fun of(values: Collection<Double>): Summary? {
            if (values.isEmpty()) return null
            val sorted = values.sorted()
            val upper = sorted.size / 2
            val median = if (sorted.size % 2 == 1) sorted[upper] else (sorted[upper - 1] + sorted[upper]) / 2
            return Summary(sorted.size, median, sorted.first(), sorted.last())
        }
    }
}
