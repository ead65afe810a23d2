package org.hydramobile.screens

import org.junit.Assert.assertEquals
import org.junit.Test

/** States and who is told of them. */
class ToldTest {
    private val screens = ByHand()
    private val told = Told("first", screens)
    private val one = ArrayList<String>()
    private val other = ArrayList<String>()

    @Test
    fun oneThatLeavesTakesTheOthersNothing() {
        val listener = Listener<String> { one.add(it) }
        told.listen(listener)
        told.listen { other.add(it) }
        told.leave(listener)
        told.set("second")
        assertEquals(listOf("first"), one)
        assertEquals(listOf("first", "second"), other)
    }

    @Test
    fun ofWhatComesFasterThanItIsShownTheNewestIsTold() {
        told.listen { one.add(it) }
        for (number in 1..1000) told.post("$number")
        assertEquals("tasks that wait", 1, screens.size)
        screens.work()
        told.post("last")
        screens.work()
        assertEquals(listOf("first", "1000", "last"), one)
    }

    @Test
    fun whatWasDroppedIsNotTold() {
        told.listen { one.add(it) }
        told.post("late")
        told.drop()
        told.set("end")
        screens.work()
        assertEquals(listOf("first", "end"), one)
    }

    @Test
    fun aListenerMayLeaveWhileItIsTold() {
        lateinit var leaving: Listener<String>
        leaving = Listener { if (it == "second") told.leave(leaving) }
        told.listen(leaving)
        told.listen { one.add(it) }
        told.set("second")
        assertEquals(listOf("first", "second"), one)
    }
}
