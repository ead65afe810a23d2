/*
 * Byte-pair encoding: a word's characters, merged pair by pair in the order that training found.
 *
 * Knows no text around a word. Called by `Tokenizer`, made by `TokenizerFile`.
 */
package org.hydramobile.core

import java.util.PriorityQueue

/**
 * A vocabulary with its merges.
 *
 * [unknown]: id of what has no other, -1 for none: it is then left out. [fuseUnknown]: several in a row are
 * one. [byteFallback]: characters without an id are written as bytes `<0xNN>`. [wholeWords]: a word that is a
 * token needs no merges.
 */
internal class Bpe(
    private val ids: Map<String, Int>,
    private val merges: Merges,
    private val unknown: Int,
    private val fuseUnknown: Boolean,
    private val byteFallback: Boolean,
    private val wholeWords: Boolean,
) {
    private val tokens = HashMap<Int, String>(2 * ids.size).also { for ((token, id) in ids) it[id] = token }
    private val byteIds = IntArray(256) { ids["<0x%02X>".format(it)] ?: -1 }

    fun idOf(token: String): Int? = ids[token]

    fun tokenOf(id: Int): String? = tokens[id]

    /** Ids of one word. */
    fun encode(word: String): IntArray {
        if (wholeWords) ids[word]?.let { return intArrayOf(it) }
        val symbols = characters(word)
        return if (symbols.size < 2) symbols else merged(symbols)
    }

    private fun characters(word: String): IntArray {
        val found = IdList()
        var unknowns = 0
        var at = 0
        while (at < word.length) {
            val end = at + Character.charCount(word.codePointAt(at))
            val character = word.substring(at, end)
            at = end
            val id = ids[character]
            if (id != null) {
                repeat(unknowns) { found.add(unknown) }
                unknowns = 0
                found.add(id)
                continue
            }
            if (byteFallback) {
                val bytes = Utf8.encode(character)
                if (bytes.all { byteIds[it.toInt() and 0xFF] >= 0 }) {
                    for (byte in bytes) found.add(byteIds[byte.toInt() and 0xFF])
                    continue
                }
            }
            if (unknown >= 0) unknowns = if (fuseUnknown) 1 else unknowns + 1
        }
        repeat(unknowns) { found.add(unknown) }
        return found.toArray()
    }

    /** [symbols] after all merges: always the earliest-learned pair, the leftmost of equal ones. */
    private fun merged(symbols: IntArray): IntArray {
        val next = IntArray(symbols.size) { if (it + 1 < symbols.size) it + 1 else -1 }
        val previous = IntArray(symbols.size) { it - 1 }
        val waiting = PriorityQueue<Long>()
        fun offer(at: Int) {
            val rank = if (at >= 0 && next[at] >= 0) merges.rank(symbols[at], symbols[next[at]]) else -1
            if (rank >= 0) waiting.add((rank.toLong() shl 32) or at.toLong())
        }
        for (at in 0 until symbols.size - 1) offer(at)
        while (true) {
            val top = waiting.poll() ?: break
            val at = top.toInt()
            // What waited may have been merged into something else meanwhile.
            if (symbols[at] < 0 || next[at] < 0) continue
            val rank = merges.rank(symbols[at], symbols[next[at]])
            val result = merges.result((top ushr 32).toInt())
            if (rank < 0 || merges.result(rank) != result) continue
            val gone = next[at]
            symbols[at] = result
            symbols[gone] = -1
            next[at] = next[gone]
            if (next[at] >= 0) previous[next[at]] = at
            offer(previous[at])
            offer(at)
        }
        return symbols.filter { it >= 0 }.toIntArray()
    }
}

/** Ranks of pairs of ids, in an open hash table without boxes. */
internal class Merges(count: Int) {
    private val capacity = Integer.highestOneBit(maxOf(4, 2 * count)) * 2
    private val pairs = LongArray(capacity) { EMPTY }
    private val ranks = IntArray(capacity)
    private val results = IntArray(count)

    /** Add the merge of [left] and [right] into [result]; the later of equal pairs counts. */
    fun put(rank: Int, left: Int, right: Int, result: Int) {
        val slot = slot(left, right)
        pairs[slot] = key(left, right)
        ranks[slot] = rank
        results[rank] = result
    }

    /** Place of a pair in the order of merges, -1 for one that is never merged. */
    fun rank(left: Int, right: Int): Int {
        val slot = slot(left, right)
        return if (pairs[slot] == EMPTY) -1 else ranks[slot]
    }

    /** What the merge at [rank] makes. */
    fun result(rank: Int): Int = results[rank]

    private fun key(left: Int, right: Int) = (left.toLong() shl 32) or right.toLong()

    private fun slot(left: Int, right: Int): Int {
        val key = key(left, right)
        val mixed = key * -0x61c8864680b583ebL
        var slot = (mixed ushr 32).toInt() and (capacity - 1)
        while (pairs[slot] != EMPTY && pairs[slot] != key) slot = (slot + 1) and (capacity - 1)
        return slot
    }

    private companion object {
        const val EMPTY = -1L
    }
}
