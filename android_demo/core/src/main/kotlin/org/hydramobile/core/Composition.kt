/*
 * Unicode's canonical composition (NFC), as the Python tokenizer's normalizer computes it.
 *
 * Android's own tables grow from version to version; these are the tokenizer's (`CompositionTables.kt`, which
 * `android_demo.tools.composition` writes). Knows no tokenizer.
 */
package org.hydramobile.core

/** Composes letters and their marks: decomposed first, marks put in order, and composed again. */
internal object Composition {
    /** No code point below it changes, or joins another below it. */
    private const val FIRST = 0x300

    private const val SYLLABLES = 0xAC00
    private const val LEADS = 0x1100
    private const val VOWELS = 0x1161
    private const val TAILS = 0x11A7
    private const val LEAD_COUNT = 19
    private const val VOWEL_COUNT = 21
    private const val TAIL_COUNT = 28
    private const val SYLLABLE_COUNT = LEAD_COUNT * VOWEL_COUNT * TAIL_COUNT

    private val decompositions = HashMap<Int, IntArray>()

    /** Composed code points by first and second part. */
    private val compositions = HashMap<Long, Int>()
    private val classes = HashMap<Int, Int>()

    init {
        val composed = ArrayList<Pair<Int, IntArray>>()
        var point = 0
        for (entry in CompositionTables.DECOMPOSITIONS.split(' ')) {
            val parts = entry.removePrefix("-").split(',').map { it.toInt(36) }
            point += parts[0]
            val into = parts.drop(1).toIntArray()
            decompositions[point] = into
            if (!entry.startsWith("-")) composed.add(point to into)
        }
        // Shorter ones first: what a longer one is made of begins with one of them.
        for ((whole, parts) in composed.sortedBy { it.second.size }) {
            var first = parts[0]
            for (part in parts.slice(1 until parts.size - 1)) first = compositions.getValue(pair(first, part))
            compositions[pair(first, parts.last())] = whole
        }
        point = 0
        for (entry in CompositionTables.CLASSES.split(' ')) {
            val (gap, count, value) = entry.split(',').map { it.toInt(36) }
            point += gap
            repeat(count) { classes[point++] = value }
        }
    }

    fun compose(text: String): String {
        if (text.all { it.code < FIRST }) return text
        return composed(ordered(decomposed(text)))
    }

    private fun decomposed(text: String): IntArray {
        val points = IdList()
        var at = 0
        while (at < text.length) {
            val point = text.codePointAt(at)
            at += Character.charCount(point)
            val syllable = point - SYLLABLES
            if (syllable in 0 until SYLLABLE_COUNT) {
                points.add(LEADS + syllable / (VOWEL_COUNT * TAIL_COUNT))
                points.add(VOWELS + syllable % (VOWEL_COUNT * TAIL_COUNT) / TAIL_COUNT)
                if (syllable % TAIL_COUNT > 0) points.add(TAILS + syllable % TAIL_COUNT)
            } else {
                decompositions[point]?.let(points::addAll) ?: points.add(point)
            }
        }
        return points.toArray()
    }

    /** [points] with the marks behind each letter in the order of their classes. */
    private fun ordered(points: IntArray): IntArray {
        var from = 0
        while (from < points.size) {
            var end = from
            while (end < points.size && classOf(points[end]) > 0) end++
            if (end - from > 1) {
                val marks = points.slice(from until end).sortedBy(::classOf)
                for ((index, mark) in marks.withIndex()) points[from + index] = mark
            }
            from = end + 1
        }
        return points
    }

    private fun composed(points: IntArray): String {
        val kept = IntArray(points.size)
        var count = 0
        var letter = -1
        var before = 0
        for (point in points) {
            val own = classOf(point)
            val free = letter >= 0 && (count - 1 == letter || before in 1 until own)
            val whole = if (free) joined(kept[letter], point) else -1
            if (whole >= 0) {
                kept[letter] = whole
                continue
            }
            if (own == 0) letter = count
            before = own
            kept[count++] = point
        }
        return String(kept, 0, count)
    }

    /** What two code points compose to, -1 for nothing. */
    private fun joined(first: Int, second: Int): Int {
        val lead = first - LEADS
        val vowel = second - VOWELS
        if (lead in 0 until LEAD_COUNT && vowel in 0 until VOWEL_COUNT) {
            return SYLLABLES + (lead * VOWEL_COUNT + vowel) * TAIL_COUNT
        }
        val syllable = first - SYLLABLES
        if (syllable in 0 until SYLLABLE_COUNT && syllable % TAIL_COUNT == 0) {
            val tail = second - TAILS
            if (tail in 1 until TAIL_COUNT) return first + tail
        }
        return compositions[pair(first, second)] ?: -1
    }

    private fun classOf(point: Int): Int = if (point < FIRST) 0 else classes[point] ?: 0

    private fun pair(first: Int, second: Int) = (first.toLong() shl 32) or second.toLong()
}
