/*
 * About: versions, this phone, licenses, and a log to report with.
 */
package org.hydramobile.demo

import android.app.Activity
import android.content.ClipData
import android.content.ClipboardManager
import android.content.Context
import android.os.Build
import android.os.Bundle
import android.view.View
import android.view.ViewGroup
import android.widget.TextView

class AboutActivity : Activity() {
    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.about_screen)
        leaveByArrow()
        findViewById<TextView>(R.id.version).text = getString(R.string.version, version())
        val limits = demo.phone.limits()
        val runtimes = findViewById<ViewGroup>(R.id.runtimes)
        for (name in demo.runtimes.keys) runtimes.fact(runtimeName(name), build(name))
        val device = findViewById<ViewGroup>(R.id.device)
        device.fact(getString(R.string.device_model), "${Build.MANUFACTURER} ${Build.MODEL}")
        device.fact(
            getString(R.string.android),
            getString(R.string.android_version, Build.VERSION.RELEASE, Build.VERSION.SDK_INT),
        )
        val cores = Runtime.getRuntime().availableProcessors()
        device.fact(
            getString(R.string.processor),
            getString(R.string.processor_about, limits.abis.firstOrNull().orEmpty(), cores),
        )
        device.fact(
            getString(R.string.memory),
            getString(R.string.memory_about, size(limits.totalBytes), size(limits.availableBytes)),
        )
        val licenses = findViewById<ViewGroup>(R.id.licenses)
        licenses.fact(getString(R.string.this_app), getString(R.string.apache))
        licenses.fact(getString(R.string.onnx_runtime), getString(R.string.mit))
        licenses.fact(getString(R.string.executorch), getString(R.string.bsd))
        findViewById<View>(R.id.copy_log).setOnClickListener { copyLog() }
    }

    /** Which build of a runtime is inside. */
    private fun build(runtime: String): String {
        val version = VERSIONS[runtime].orEmpty()
        return if (runtime == "executorch") getString(R.string.executorch_build, version) else version
    }

    private fun version(): String = packageManager.getPackageInfo(packageName, 0).versionName.orEmpty()

    private fun copyLog() {
        val limits = demo.phone.limits()
        val facts = listOf(
            "app ${version()}",
            "runtimes ${demo.runtimes.keys.joinToString { "${runtimeName(it)} ${build(it)}" }}",
            deviceFacts().entries.joinToString { "${it.key} ${it.value}" },
            "abis ${limits.abis.joinToString()}, memory ${limits.totalBytes}, available ${limits.availableBytes}",
        )
        val board = getSystemService(Context.CLIPBOARD_SERVICE) as ClipboardManager
        val text = (facts + demo.log.lines()).joinToString("\n")
        board.setPrimaryClip(ClipData.newPlainText(getString(R.string.log), text))
        tell(getString(R.string.log_copied))
    }
}
