/*
 * What a device can take, and whether a bundle is within it.
 *
 * The shares are those of `hydra_mobile/bundle/memory/phones.py`: assumptions on the careful side. Knows no
 * Android; the app fills in what the system tells. Called by `Bundle.open` and by an import before it copies.
 */
package org.hydramobile.core

/**
 * Facts about a device.
 *
 * [totalBytes]: its memory. [availableBytes]: what is free of it or can be freed now. [abis]: what its
 * processors run, for example "arm64-v8a". [apiLevel]: of its Android. [freeDiskBytes]: where a bundle is to
 * be copied; null when nothing is copied.
 */
class DeviceLimits(
    val availableBytes: Long,
    val totalBytes: Long,
    val abis: List<String>,
    val apiLevel: Int,
    val freeDiskBytes: Long? = null,
) {
    /** Bytes of memory that one app may use in the long run. */
    val usableBytes: Long
        get() = (totalBytes * (if (totalBytes < SMALL_BELOW) SMALL_SHARE else SHARE)).toLong()

    /** These with [bytes] more free on the disk. */
    fun free(bytes: Long) = DeviceLimits(availableBytes, totalBytes, abis, apiLevel, freeDiskBytes?.let { it + bytes })

    /**
     * Check that a bundle can run here now.
     *
     * @throws BundleException as [requireEver], or MEMORY_TAKEN.
     */
    fun require(manifest: Manifest) {
        requireEver(manifest)
        val needed = manifest.footprint?.peak ?: return
        // The app itself is in memory already.
        if (needed > availableBytes) {
            refuse(
                BundleProblem.MEMORY_TAKEN,
                "The bundle needs about ${mebibytes(needed)} of memory, and ${mebibytes(availableBytes)} are " +
                    "free at the moment.",
                "Close other apps and try again.",
                mebibytes(needed),
                mebibytes(availableBytes),
            )
        }
    }

    /**
     * Check that a bundle can run here at some time, whatever other apps hold now.
     *
     * @throws BundleException WRONG_ABI, OLD_ANDROID, TOO_LARGE or DISK_FULL.
     */
    fun requireEver(manifest: Manifest) {
        requireSystem(manifest)
        manifest.footprint?.let { requireMemory(it) }
        if (freeDiskBytes != null && manifest.totalBytes > freeDiskBytes) {
            refuse(
                BundleProblem.DISK_FULL,
                "The bundle has ${mebibytes(manifest.totalBytes)}, and ${mebibytes(freeDiskBytes)} are free on " +
                    "the disk.",
                "Delete other models or files first.",
                mebibytes(manifest.totalBytes),
                mebibytes(freeDiskBytes),
            )
        }
    }

    private fun requireSystem(manifest: Manifest) {
        val wanted = manifest.abis
        if (wanted != null && wanted.none { it in abis }) {
            refuse(
                BundleProblem.WRONG_ABI,
                "The bundle is for processors of kind ${wanted.joinToString()}; this device has " +
                    "${abis.joinToString()}.",
                "Export it again for this device, or use another device.",
                wanted.joinToString(),
                abis.joinToString(),
            )
        }
        val least = manifest.androidApi
        if (least != null && least > apiLevel) {
            refuse(
                BundleProblem.OLD_ANDROID,
                "The bundle needs Android API $least; this device has $apiLevel.",
                "Update the device's system, or use another device.",
                "$least",
                "$apiLevel",
            )
        }
    }

    private fun requireMemory(footprint: Footprint) {
        val needed = PROCESS_BYTES + footprint.peak
        if (needed > usableBytes) {
            refuse(
                BundleProblem.TOO_LARGE,
                "The bundle needs about ${mebibytes(needed)} of memory with the app, and an app can count on " +
                    "${mebibytes(usableBytes)} of this device's ${mebibytes(totalBytes)}.",
                "Use a smaller preset (int4), a smaller base, or a shorter context (`--max-context`).",
                mebibytes(needed),
                mebibytes(usableBytes),
            )
        }
    }

    companion object {
        private const val GIB = 1L shl 30
        private const val SMALL_BELOW = 6 * GIB
        private const val SMALL_SHARE = 0.35
        private const val SHARE = 0.5

        /** An app with a picture on the screen and no model, in bytes. */
        const val PROCESS_BYTES = 160L shl 20

        /** [bytes] for people. */
        fun mebibytes(bytes: Long): String = "${(bytes + (1 shl 20) - 1) shr 20} MiB"
    }
}
