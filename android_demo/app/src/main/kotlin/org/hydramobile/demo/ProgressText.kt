/*
 * What the app is doing, in the words of its resources. Called by the screens that listen to `Asker`.
 */
package org.hydramobile.demo

import android.content.Context
import org.hydramobile.screens.AskState
import org.hydramobile.screens.Work

/** How far the work of [state] is; empty where nothing is being done. */
internal fun Context.progressText(state: AskState): String {
    val percent = (100 * state.share).toInt()
    return when (state.work) {
        Work.NOTHING -> ""
        Work.CHECKING -> getString(R.string.work_checking, percent)
        Work.LOADING -> getString(R.string.work_loading)
        Work.ANSWERING -> getString(R.string.work_answering)
        Work.MEASURING -> getString(R.string.work_measuring, percent)
    }
}
