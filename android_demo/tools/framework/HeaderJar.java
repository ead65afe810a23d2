import java.io.BufferedOutputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.TreeSet;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import java.util.zip.ZipOutputStream;
import org.objectweb.asm.ClassReader;
import org.objectweb.asm.ClassVisitor;
import org.objectweb.asm.ClassWriter;
import org.objectweb.asm.FieldVisitor;
import org.objectweb.asm.MethodVisitor;
import org.objectweb.asm.Opcodes;

/**
 * Writes what a compiler sees of the instrumented framework: classes and members without code, and without what
 * Robolectric has put between them.
 *
 * <p>java -cp asm.jar HeaderJar.java IN.jar OUT.jar PREFIX... (of the classes' names)
 */
public class HeaderJar {
    private static final String INSTRUMENTED = "org/robolectric/";
    private static final String MARK = "$$robo$$";
    private static final String OTHER_MARK = "__robo_data__";

    public static void main(String[] arguments) throws IOException {
        List<String> prefixes = Arrays.asList(arguments).subList(2, arguments.length);
        try (ZipFile in = new ZipFile(arguments[0]);
                ZipOutputStream out =
                        new ZipOutputStream(new BufferedOutputStream(new FileOutputStream(arguments[1])))) {
            TreeSet<String> names = new TreeSet<>();
            in.stream()
                    .map(ZipEntry::getName)
                    .filter(name -> name.endsWith(".class") && prefixes.stream().anyMatch(name::startsWith))
                    .forEach(names::add);
            for (String name : names) {
                byte[] header = header(in.getInputStream(in.getEntry(name)).readAllBytes());
                if (header == null) continue;
                out.putNextEntry(new ZipEntry(name));
                out.write(header);
                out.closeEntry();
            }
        }
    }

    private static boolean isSeen(int access, String name) {
        boolean isOpen = (access & (Opcodes.ACC_PUBLIC | Opcodes.ACC_PROTECTED)) != 0;
        return isOpen && !name.startsWith(MARK) && !name.startsWith("$$robo") && !name.equals(OTHER_MARK);
    }

    /** A class without code; null for one that no source can name. */
    private static byte[] header(byte[] bytes) {
        ClassReader reader = new ClassReader(bytes);
        boolean isSynthetic = (reader.getAccess() & Opcodes.ACC_SYNTHETIC) != 0;
        if (isSynthetic || reader.getClassName().matches(".*\\$\\d+.*")) return null;
        ClassWriter writer = new ClassWriter(0);
        ClassVisitor filter = new ClassVisitor(Opcodes.ASM9, writer) {
            @Override
            public void visit(
                    int version, int access, String name, String generic, String above, String[] interfaces) {
                List<String> own = new ArrayList<>(Arrays.asList(interfaces));
                own.removeIf(each -> each.startsWith(INSTRUMENTED));
                super.visit(version, access, name, generic, above, own.toArray(new String[0]));
            }

            @Override
            public FieldVisitor visitField(int access, String name, String type, String generic, Object value) {
                return isSeen(access, name) ? super.visitField(access, name, type, generic, value) : null;
            }

            @Override
            public MethodVisitor visitMethod(
                    int access, String name, String type, String generic, String[] thrown) {
                boolean isNamed = (access & Opcodes.ACC_SYNTHETIC) == 0 && !name.equals("<clinit>");
                if (!isNamed || !isSeen(access, name) || type.contains(INSTRUMENTED)) return null;
                return super.visitMethod(access, name, type, generic, thrown);
            }
        };
        reader.accept(filter, ClassReader.SKIP_CODE | ClassReader.SKIP_DEBUG | ClassReader.SKIP_FRAMES);
        return writer.toByteArray();
    }
}
