package org.hydramobile.screens

import java.util.ArrayDeque
import java.util.concurrent.Executor

/** Runs tasks when a test says so. */
internal class ByHand : Executor {
    private val tasks = ArrayDeque<Runnable>()
    val size: Int get() = tasks.size

    override fun execute(task: Runnable) {
        tasks.add(task)
    }

    /** Run all tasks, those too that come meanwhile. */
    fun work() {
        while (tasks.isNotEmpty()) tasks.poll()!!.run()
    }
}

/** Runs tasks at once. */
internal val AT_ONCE = Executor { it.run() }
