package org.hydramobile.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File

/** Medians, the speed test, and the memory that the kernel tells. */
class StatisticsTest {
    @get:Rule
    val temporary = TemporaryFolder()

    @Test
    fun mediansAndSpread() {
        assertNull(Summary.of(emptyList()))
        assertEquals(3.0, Summary.of(listOf(9.0, 1.0, 3.0))!!.median, 0.0)
        val even = Summary.of(listOf(4.0, 1.0, 2.0, 8.0))!!
        assertEquals(3.0, even.median, 0.0)
        assertEquals(7.0 / 3.0, even.spread, 1e-12)
        assertEquals(0.0, Summary.of(listOf(5.0))!!.spread, 0.0)
    }

    @Test
    fun speedIsMeasuredWithoutTheWarmUp() {
        val bundle = Bundle.open(MadeBundle(temporary.newFolder()).folder)
        val runtime = FakeRuntime(bundle.manifest) { 2 }
        val repeats = ArrayList<Int>()
        val speed = SpeedTest(bundle, runtime).measure(repeats = 3, onRepeat = { repeats.add(it) })
        assertEquals(listOf(0, 1, 2, 3), repeats)
        assertEquals(4, runtime.calls.count { it == "encode" })
        assertEquals(4 * (2 + 31), runtime.calls.count { it.startsWith("decode") })
        val lists = listOf(speed.encodeSeconds, speed.prefillRate, speed.firstTokenSeconds, speed.decodeRate)
        assertEquals(listOf(3, 3, 3, 3), lists.map { it.size })
        val signal = StopSignal()
        val stopped = SpeedTest(bundle, runtime).measure(3, signal) { if (it == 1) signal.stop() }
        assertEquals(1, stopped.decodeRate.size)
    }

    @Test
    fun peakMemoryOfAProcess() {
        val status = temporary.newFile().also { it.writeText("Name:\tapp\nVmHWM:\t  123456 kB\nVmRSS:\t 99 kB\n") }
        assertEquals(123_456L * 1024, PeakMemory.residentPeak(status))
        assertNull(PeakMemory.residentPeak(File("/nowhere")))
        if (File("/proc/self/status").exists()) assertTrue(PeakMemory.RESIDENT.bytes()!! > 10L shl 20)
    }
}
