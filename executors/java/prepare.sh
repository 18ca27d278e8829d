# Makes a compiler that starts from an archive of loaded classes, trained on a program with something of everything.
# The archive remembers the class path it was made with, so the tree of a sandbox is rebuilt here and the path in it
# is relative to the working directory, as it will be there.
set -eu
out=$1

mkdir -p classes root/box/work root/opt/toolchains/java
javac -d classes SandboxCompiler.java
cp Training.java classes/
jar --create --file root/opt/toolchains/java/compiler.jar -C classes .
cp Training.java Hello.java root/box/work/
(
    cd root/box/work
    java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:CICompilerCount=1 -XX:-UsePerfData -Xlog:disable \
        -XX:ArchiveClassesAtExit=../../opt/toolchains/java/compiler.jsa \
        -cp ../../opt/toolchains/java/compiler.jar SandboxCompiler .classes Training.java -proc:none Training.java \
        2>training.log || { cat training.log >&2; exit 1; }
)
mkdir -p "$out"
# With their times: the archive knows the jar's.
cp -p root/opt/toolchains/java/* "$out/"
