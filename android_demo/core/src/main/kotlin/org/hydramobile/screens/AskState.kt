/*
 * What the answer screen and the speed test show at a moment. Made by `Asker`.
 */
package org.hydramobile.screens

import org.hydramobile.core.DecodedPicture
import org.hydramobile.core.Speed

/** What the app is doing. */
enum class Work { NOTHING, CHECKING, LOADING, ANSWERING, MEASURING }

/**
 * A moment of [Asker].
 *
 * [share]: of a check or measurement that is done, 0 to 1. [question], [answer] and [facts]: of the answer on its
 * way. [message]: what went wrong last, for people. [speed]: of the last speed test.
 */
class AskState(
    val work: Work = Work.NOTHING,
    val share: Double = 0.0,
    val question: String = "",
    val answer: String = "",
    val facts: String = "",
    val message: String? = null,
    val speed: Speed? = null,
) {
    val isBusy: Boolean get() = work != Work.NOTHING
}

/** Told of every change, on the thread of the screens; a turn is in the conversation before its work ends. */
fun interface AskListener {
    fun onState(state: AskState)
}

/** A picture that the user chose; equal [key]s mean equal pictures. IOException of [decode]: it cannot be read. */
class ChosenPicture(val key: String, val decode: () -> DecodedPicture)
