import com.sun.source.tree.ClassTree;
import com.sun.source.tree.CompilationUnitTree;
import com.sun.source.tree.MethodTree;
import com.sun.source.tree.Tree;
import com.sun.source.util.JavacTask;
import com.sun.source.util.TaskEvent;
import com.sun.source.util.TaskListener;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.StringWriter;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import javax.lang.model.element.Modifier;
import javax.tools.FileObject;
import javax.tools.ForwardingJavaFileManager;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileManager;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;

/**
 * javac, plus a note for the launcher. Called with the folder for classes, the entry, then javac's flags and sources.
 * The note is an argument file for `java`: the class path and the class in the entry that has a main method.
 *
 * When the entry is a FIFO, this was started before there was a program: it compiles something of its own until it knows
 * how, and then waits for the FIFO's other end to be closed. By then the entry is a file, with the program in it.
 */
public final class SandboxCompiler implements TaskListener {
    private final Path entry;
    private String mainClass;

    private SandboxCompiler(Path entry) {
        this.entry = entry;
        String file = entry.getFileName().toString();
        int dot = file.lastIndexOf('.');
        mainClass = dot > 0 ? file.substring(0, dot) : file;
    }

    public static void main(String[] args) throws IOException {
        Path classes = Path.of(args[0]);
        SandboxCompiler noted = new SandboxCompiler(Path.of(args[1]).toAbsolutePath().normalize());
        if (Files.exists(noted.entry) && !Files.isRegularFile(noted.entry)) {
            warmUp();
            try (InputStream program = Files.newInputStream(noted.entry)) {
                program.transferTo(OutputStream.nullOutputStream());
            }
        }
        Files.createDirectories(classes);
        if (!noted.compile(classes, Arrays.asList(args).subList(2, args.length))) {
            System.exit(1);
        }
        Files.writeString(classes.resolve(".launch"), "-cp\n" + classes + ":.\n" + noted.mainClass + "\n");
        // Threads of an annotation processor must not keep a finished compiler alive.
        System.exit(0);
    }

    /** Nothing that it makes leaves memory. More rounds than these gain less than they cost. */
    private static void warmUp() throws IOException {
        final int rounds = 4;
        String text;
        try (InputStream training = SandboxCompiler.class.getResourceAsStream("/Training.java")) {
            text = new String(training.readAllBytes(), StandardCharsets.UTF_8);
        }
        JavaFileObject source = new SimpleJavaFileObject(URI.create("mem:/Training.java"), JavaFileObject.Kind.SOURCE) {
            @Override
            public CharSequence getCharContent(boolean ignoreEncodingErrors) {
                return text;
            }
        };
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        for (int round = 0; round < rounds; round++) {
            JavaFileManager files = new InMemory(compiler.getStandardFileManager(null, null, null));
            List<String> flags = List.of("-proc:none", "-d", ".");
            compiler.getTask(new StringWriter(), files, null, flags, null, List.of(source)).call();
        }
    }

    /** Throws away what is written. */
    private static final class InMemory extends ForwardingJavaFileManager<JavaFileManager> {
        InMemory(JavaFileManager files) {
            super(files);
        }

        @Override
        public JavaFileObject getJavaFileForOutput(Location location, String name, JavaFileObject.Kind kind, FileObject sibling) {
            return new SimpleJavaFileObject(URI.create("mem:/" + name.replace('.', '/') + kind.extension), kind) {
                @Override
                public OutputStream openOutputStream() {
                    return OutputStream.nullOutputStream();
                }
            };
        }
    }

    private boolean compile(Path classes, List<String> arguments) throws IOException {
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        // Flags stand in front of the sources, and a flag's value looks like anything: only the tail is certain.
        int sources = arguments.size();
        while (sources > 0 && arguments.get(sources - 1).endsWith(".java")) {
            sources--;
        }
        List<String> flags = new java.util.ArrayList<>(List.of("-d", classes.toString()));
        flags.addAll(arguments.subList(0, sources));
        StandardJavaFileManager files = compiler.getStandardFileManager(null, null, null);
        Iterable<? extends JavaFileObject> units =
            files.getJavaFileObjectsFromStrings(arguments.subList(sources, arguments.size()));
        JavacTask task;
        try {
            task = (JavacTask) compiler.getTask(null, files, null, flags, null, units);
        } catch (IllegalArgumentException | IllegalStateException wrongFlag) {
            System.err.println(wrongFlag.getMessage());
            return false;
        }
        task.addTaskListener(this);
        return task.call();
    }

    @Override
    public void finished(TaskEvent event) {
        if (event.getKind() != TaskEvent.Kind.PARSE) {
            return;
        }
        CompilationUnitTree unit = event.getCompilationUnit();
        if (Path.of(unit.getSourceFile().getName()).toAbsolutePath().normalize().equals(entry)) {
            note(unit);
        }
    }

    /** The type named like the file if it can be launched, else the first that can, else leave it to the launcher. */
    private void note(CompilationUnitTree unit) {
        String launched = null;
        String first = null;
        for (Tree tree : unit.getTypeDecls()) {
            if (tree instanceof ClassTree) {
                ClassTree type = (ClassTree) tree;
                String name = type.getSimpleName().toString();
                first = first == null || name.equals(mainClass) ? name : first;
                if (hasMain(type) && (launched == null || name.equals(mainClass))) {
                    launched = name;
                }
            }
        }
        String name = launched != null ? launched : first != null ? first : mainClass;
        mainClass = unit.getPackageName() == null ? name : unit.getPackageName() + "." + name;
    }

    private static boolean hasMain(ClassTree type) {
        for (Tree member : type.getMembers()) {
            if (member instanceof MethodTree) {
                MethodTree method = (MethodTree) member;
                boolean isStatic = method.getModifiers().getFlags().contains(Modifier.STATIC);
                if (method.getName().contentEquals("main") && isStatic && method.getParameters().size() == 1) {
                    return true;
                }
            }
        }
        return false;
    }
}
