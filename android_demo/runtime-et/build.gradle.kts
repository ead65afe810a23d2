import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.android.library)
    alias(libs.plugins.kotlin.android)
}

android {
    namespace = "org.hydramobile.runtime.et"
    compileSdk = 36
    defaultConfig { minSdk = 26 }
    // ExecuTorch and the bridge to it: `hydra-mobile app libraries --out android_demo/runtime-et/libraries` writes
    // them, built from src/main/cpp by the pinned compiler.
    sourceSets["main"].jniLibs.srcDir("libraries")
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }
}

kotlin {
    compilerOptions {
        jvmTarget = JvmTarget.JVM_1_8
        allWarningsAsErrors = true
    }
}

dependencies {
    implementation(project(":core"))
    testImplementation(libs.junit)
}

tasks.withType<Test>().configureEach {
    System.getProperty("hydra.bundle")?.let { systemProperty("hydra.bundle", it) }
}
