/*
 * Several squares of one picture, a grid of tiles and an overview: `hydra_mobile/models/tiles.py`.
 */
package org.hydramobile.core

/** Tiles row by row, then the overview; [texts] are what is written before the embeddings of each square. */
class Tiles private constructor(
    private val rows: Int,
    private val columns: Int,
    private val overview: Overview,
    val texts: List<String>,
) {
    /** Squares of a picture. */
    val count: Int get() = rows * columns + 1

    /** What the overview is resized from: the picture, or the grid that it was stretched to. */
    private enum class Overview { IMAGE, GRID }

    /** The squares of [picture], each [side] pixels wide and high. */
    internal fun squares(picture: Rows, side: Int, filter: Filter): List<Rows> {
        val grid = Resample.resize(picture, columns * side, rows * side, filter)
        val tiles = List(rows * columns) { CutRows(grid, it % columns * side, it / columns * side, side, side) }
        val whole = if (overview == Overview.GRID) grid else picture
        return tiles + Resample.resize(whole, side, side, filter)
    }

    companion object {
        private const val MOST = 64

        /** The manifest's `tiles`. JsonException: a key is missing or has a value that cannot be. */
        fun of(json: JsonObject): Tiles {
            val name = json.string("overview")
            val overview = Overview.values().firstOrNull { it.name.lowercase() == name }
                ?: throw JsonException("${json.where}: `overview` is \"${name.take(40)}\", expected image or grid.")
            val tiles = Tiles(number(json, "rows"), number(json, "columns"), overview, json.strings("texts"))
            if (tiles.texts.size != tiles.count) {
                val expected = "expected ${tiles.count}, one for each tile and one for the overview."
                throw JsonException("${json.where}: key `texts` has ${tiles.texts.size}, $expected")
            }
            return tiles
        }

        private fun number(json: JsonObject, key: String): Int {
            val value = json.int(key)
            if (value !in 1..MOST) throw JsonException("${json.where}: key `$key` is $value, expected 1 to $MOST.")
            return value
        }
    }
}
