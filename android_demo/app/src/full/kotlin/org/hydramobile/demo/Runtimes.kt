/*
 * The runtimes of this flavour of the app: ONNX Runtime and ExecuTorch.
 */
package org.hydramobile.demo

import org.hydramobile.core.RuntimeFactory
import org.hydramobile.runtime.et.EtRuntime
import org.hydramobile.runtime.ort.OrtRuntime

internal val RUNTIMES = mapOf<String, RuntimeFactory>(
    OrtRuntime.NAME to RuntimeFactory(OrtRuntime::load),
    EtRuntime.NAME to RuntimeFactory(EtRuntime::load),
)
