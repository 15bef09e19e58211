"""Files of weights and state dicts: fetched, read, made to fit, loaded, reported. No network is known here by name.

| file         | owns                                                                                  |
|--------------|---------------------------------------------------------------------------------------|
| `fetch`      | the Hugging Face hub, addresses, their caches                                         |
| `read`       | what a file holds: a state dict, or what it is instead                                |
| `loaded`     | `Weights`: tensors that are on their way into a network; what images they were trained on |
| `fit`        | whether tensors are a network's; putting them into it                                 |
| `report`     | the one line that says what was loaded                                                |
| `guard`      | nothing is fetched or read while a checkpoint is being read                           |

What is in a cache is used without a look at the network. What is not is fetched, read, and kept only if it can be
used: a download that broke off, a login page in place of a file or another network's weights never stay.
"""
