import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.android.application)
    alias(libs.plugins.kotlin.android)
}

android {
    namespace = "org.hydramobile.demo"
    compileSdk = 36
    defaultConfig {
        applicationId = "org.hydramobile.demo"
        minSdk = 26
        targetSdk = 34
        versionCode = 101
        versionName = "0.1.0"
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
    }
    // The runtimes in the app, as `hydra-mobile app build --runtimes` chooses them.
    flavorDimensions += "runtimes"
    productFlavors {
        create("both") { dimension = "runtimes" }
        create("executorch") { dimension = "runtimes" }
        create("onnx") { dimension = "runtimes" }
    }
    // Android's own framework code runs the screens; what the tests share with those of the core comes from there.
    testOptions {
        unitTests {
            isIncludeAndroidResources = true
            all { test ->
                listOf("hydra.pictures", "hydra.scenes", "hydra.real", "hydra.kill", "hydra.shared").forEach { name ->
                    System.getProperty(name)?.let { test.systemProperty(name, it) }
                }
            }
        }
    }
    sourceSets {
        getByName("test").kotlin.srcDir("../core/src/test/kotlin")
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }
}

// Warnings stay warnings: calls that newer systems advise against are what older ones have.
kotlin { compilerOptions { jvmTarget = JvmTarget.JVM_1_8 } }

dependencies {
    implementation(project(":core"))
    "bothImplementation"(project(":runtime-et"))
    "bothImplementation"(project(":runtime-ort"))
    "bothImplementation"(libs.onnxruntime.android)
    "executorchImplementation"(project(":runtime-et"))
    "onnxImplementation"(project(":runtime-ort"))
    "onnxImplementation"(libs.onnxruntime.android)
    testImplementation(libs.junit)
    testImplementation(libs.robolectric)
}
