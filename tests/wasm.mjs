// node wasm.mjs MODULE HEAP_BYTES < {"files": {path: text}, "code": python}: runs it in MicroPython's WebAssembly build.
import { readFileSync } from "node:fs";

const [module, heapsize] = process.argv.slice(2);
const { files, code } = JSON.parse(readFileSync(0, "utf8"));
const { loadMicroPython } = await import(module);
const python = await loadMicroPython({ heapsize: Number(heapsize), stdout: (line) => console.log(line), linebuffer: true });
for (const [path, text] of Object.entries(files)) {
    python.FS.mkdirTree(path.slice(0, path.lastIndexOf("/")));
    python.FS.writeFile(path, text);
}
try {
    python.runPython(code);
} catch (error) {
    console.error(String(error));
    process.exitCode = 1;
}
