/*
 * The model that was built into the app: a folder of its assets.
 */
package org.hydramobile.demo

import android.content.res.AssetManager
import org.hydramobile.screens.BundleSource
import java.io.FileNotFoundException
import java.io.InputStream

/** The folder [title] of the assets' models. */
internal class AssetFolder private constructor(private val assets: AssetManager, override val title: String) :
    BundleSource {
    override fun open(path: String): InputStream? = try {
        assets.open("$MODELS/$title/$path")
    } catch (_: FileNotFoundException) {
        null
    }

    companion object {
        private const val MODELS = "models"

        /** The model in this app; null: it was built without one. */
        fun find(assets: AssetManager): AssetFolder? =
            assets.list(MODELS)?.firstOrNull()?.let { AssetFolder(assets, it) }
    }
}
