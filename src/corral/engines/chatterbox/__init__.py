"""`chatterbox`: speech in the voice of a recording, with Resemble AI's Chatterbox, in a worker process of its own.

Its library wants other versions of PyTorch and NumPy than the other engines', so it runs in an environment of its own
(`corral engines install chatterbox`). Every line that it speaks is heard and compared before it is handed out.

Belongs here: its inputs and options (`inputs`), the files of its model and recordings (`files`), its library
(`library`), what hears a line (`hearing`), its worker side (`worker`).
Does not belong here: the comparisons (`corral.engines.speech_checks`), where voices are kept (`corral.tasks`).
"""
