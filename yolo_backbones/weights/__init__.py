"""Files of weights and state dicts: fetched, read, made to fit, loaded, reported. No network is named here.

| file         | owns                                                                                  |
|--------------|---------------------------------------------------------------------------------------|
| `fetch`      | the Hugging Face hub, addresses, their caches                                         |
| `read`       | what a file holds: a state dict, or what it is instead                                |
| `loaded`     | `Weights`: tensors that are on their way into a network; what images they were trained on |
| `fit`        | whether tensors are a network's; putting them into it                                 |
| `report`     | the one line that says what was loaded                                                |
| `guard`      | that nothing is fetched or read while a checkpoint is being read                      |

A file in a cache is used without internet access. Any other is downloaded, read, and kept only if it can be used: a
download that broke off, a login page in place of a file and another network's weights are removed.
"""
