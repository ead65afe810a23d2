/*
 * What Android tells about this phone.
 */
package org.hydramobile.demo

import android.app.ActivityManager
import android.content.Context
import android.os.Build
import android.os.PowerManager
import org.hydramobile.core.DeviceLimits
import java.io.File
import java.io.IOException

/** Facts about the phone, for any thread. */
internal interface PhoneFacts {
    /** Memory, processors, Android; and where a model [isCopied], the disk's free space. */
    fun limits(isCopied: Boolean = false): DeviceLimits

    /** As `PowerManager` counts, from 0 (none); null: not told. */
    fun thermal(): Int?

    /** Processors that are as fast as the fastest, or nearly; 0: not known. Reads files. */
    fun fastCores(): Int
}

/** What the system says. */
internal class AndroidFacts(private val context: Context) : PhoneFacts {
    override fun limits(isCopied: Boolean): DeviceLimits {
        val memory = ActivityManager.MemoryInfo()
        (context.getSystemService(Context.ACTIVITY_SERVICE) as ActivityManager).getMemoryInfo(memory)
        return DeviceLimits(
            availableBytes = memory.availMem,
            totalBytes = memory.totalMem,
            abis = Build.SUPPORTED_ABIS.toList(),
            apiLevel = Build.VERSION.SDK_INT,
            freeDiskBytes = if (isCopied) context.demo.shared.usableSpace else null,
        )
    }

    override fun thermal(): Int? {
        if (Build.VERSION.SDK_INT < THERMAL_SINCE) return null
        return (context.getSystemService(Context.POWER_SERVICE) as? PowerManager)?.currentThermalStatus
    }

    override fun fastCores(): Int {
        val speeds = File("/sys/devices/system/cpu").listFiles { file -> Regex("cpu\\d+").matches(file.name) }.orEmpty()
            .mapNotNull { speed(File(it, "cpufreq/cpuinfo_max_freq")) }
        val fastest = speeds.maxOrNull() ?: return 0
        return speeds.count { it >= NEARLY * fastest }
    }

    private fun speed(file: File): Long? = try {
        if (file.canRead()) file.readText().trim().toLongOrNull() else null
    } catch (_: IOException) {
        null
    }

    private companion object {
        /** Android 10. */
        const val THERMAL_SINCE = 29
        const val NEARLY = 0.8
    }
}

/** What a host wants to know with a batch's answers. */
internal fun deviceFacts(): Map<String, Any?> = mapOf(
    "model" to "${Build.MANUFACTURER} ${Build.MODEL}",
    "android" to Build.VERSION.RELEASE,
    "api_level" to Build.VERSION.SDK_INT,
)
