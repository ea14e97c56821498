"""The vision-encoder: a torch-free front that decodes and cuts images, and the SigLIP tower that runs inside Triton."""
