/*
 * A state that many may follow: screens, and whatever else wants to know.
 */
package org.hydramobile.screens

import java.util.concurrent.Executor
import java.util.concurrent.atomic.AtomicReference

/** Told of every state, on the thread of the screens. */
fun interface Listener<in S> {
    fun onState(state: S)
}

/** Holds the newest state; [screens] runs tasks on the thread of the screens, where all but [post] is called. */
class Told<S : Any>(first: S, private val screens: Executor) {
    private val listeners = LinkedHashSet<Listener<S>>()
    private val posted = AtomicReference<S?>()

    /** For any thread. */
    @Volatile
    var now: S = first
        private set

    /** Tell [listener] of the state there is, and of all that follow. */
    fun listen(listener: Listener<S>) {
        listeners.add(listener)
        listener.onState(now)
    }

    /** Tell [listener] no more; the others stay. */
    fun leave(listener: Listener<S>) {
        listeners.remove(listener)
    }

    fun set(state: S) {
        now = state
        for (listener in listeners.toList()) if (listener in listeners) listener.onState(state)
    }

    /** As [set], from any thread; of states that come faster than screens can show them, the newest is told. */
    fun post(state: S) {
        if (posted.getAndSet(state) == null) screens.execute { posted.getAndSet(null)?.let(::set) }
    }

    /** Forget what was posted and not told. */
    fun drop() = posted.set(null)
}
