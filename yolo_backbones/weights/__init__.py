"""Files of weights and state dicts: fetched, read, made to fit, loaded, reported. No network is named here.

| file         | owns                                                                                  |
|--------------|---------------------------------------------------------------------------------------|
| `fetch`      | the Hugging Face hub, addresses, their caches                                         |
| `download`   | https                                                                                 |
| `integrity`  | hashes: published ones, and records of the first fetch                                |
| `damage`     | proof, without loading a file, that it is damaged or would fill the memory            |
| `read`       | what a file holds: a state dict, or what it is instead                                |
| `allowed`    | the classes that a restricted load accepts, for its time                              |
| `loaded`     | `Weights`: tensors that are on their way into a network; what images they were trained on |
| `fit`        | whether tensors are a network's; putting them into it                                 |
| `report`     | the one line that says what was loaded                                                |
| `guard`      | that nothing is fetched or read while a checkpoint is being read                      |

A file in a cache is used without internet access. Any other is downloaded, read, and kept only if it can be used. Files
that were in a cache before are never deleted; `fetch` says which are renamed.
"""
