/** What `import to first result` times: a new process that adds two tensors. */
import { tensor } from "../mod.ts";

console.log(tensor([1, 2, 3]).add(tensor([4, 5, 6])).toArray());
