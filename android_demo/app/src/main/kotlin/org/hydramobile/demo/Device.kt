/*
 * What Android tells about this device.
 */
package org.hydramobile.demo

import android.app.ActivityManager
import android.content.Context
import android.os.Build
import org.hydramobile.core.DeviceLimits
import java.io.File

/** Memory, processors, Android, and the free space of [folder]. */
internal fun deviceLimits(context: Context, folder: File): DeviceLimits {
    val memory = ActivityManager.MemoryInfo()
    (context.getSystemService(Context.ACTIVITY_SERVICE) as ActivityManager).getMemoryInfo(memory)
    return DeviceLimits(
        availableBytes = memory.availMem,
        totalBytes = memory.totalMem,
        abis = Build.SUPPORTED_ABIS.toList(),
        apiLevel = Build.VERSION.SDK_INT,
        freeDiskBytes = folder.usableSpace,
    )
}

/** What a host wants to know with a batch's answers. */
internal fun deviceFacts(): Map<String, Any?> = mapOf(
    "model" to "${Build.MANUFACTURER} ${Build.MODEL}",
    "android" to Build.VERSION.RELEASE,
    "api_level" to Build.VERSION.SDK_INT,
)
