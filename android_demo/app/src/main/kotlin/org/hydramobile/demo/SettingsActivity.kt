/*
 * Threads, length of answers, temperature.
 */
package org.hydramobile.demo

import android.app.Activity
import android.os.Bundle
import android.widget.Button
import android.widget.EditText
import android.widget.TextView
import android.widget.Toast
import org.hydramobile.screens.AskSettings
import org.hydramobile.screens.SettingsException

class SettingsActivity : Activity() {
    private val fields = mapOf(
        DemoApplication.THREADS to R.id.threads,
        DemoApplication.MOST_TOKENS to R.id.most_tokens,
        DemoApplication.TEMPERATURE to R.id.temperature,
    )

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.settings)
        actionBar?.setDisplayHomeAsUpEnabled(true)
        // After a turn of the phone the fields have what was being typed.
        if (savedInstanceState == null) {
            for ((name, id) in fields) findViewById<EditText>(id).setText(demo.typed(name))
        }
        findViewById<Button>(R.id.save).setOnClickListener { save() }
    }

    private fun save() {
        val typed = fields.mapValues { (_, id) -> findViewById<EditText>(id).text.toString().trim() }
        val problem = findViewById<TextView>(R.id.settings_problem)
        try {
            AskSettings.of(
                typed.getValue(DemoApplication.THREADS),
                typed.getValue(DemoApplication.MOST_TOKENS),
                typed.getValue(DemoApplication.TEMPERATURE),
            )
        } catch (error: SettingsException) {
            problem.text = error.message
            return
        }
        problem.text = ""
        demo.keep(typed)
        Toast.makeText(this, R.string.saved, Toast.LENGTH_SHORT).show()
        finish()
    }
}
